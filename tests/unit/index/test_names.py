"""Facts about names and numbers as the database keeps them.

Names are compared as bytes: a report that quotes lone surrogates cannot leave a worker of pytest-xdist.
"""

import os

from hypothesis import given
from hypothesis import strategies as st

from sorter.index.names import original, signed, storable

# Any bytes that the file system takes, as Python shows them.
names = st.binary(min_size=1, max_size=40).map(os.fsdecode)
private = st.text(st.characters(min_codepoint=0xF700, max_codepoint=0xF7FF), min_size=1)


@given(names)
def test_any_name_becomes_encodable_text(name):
    assert storable(name).encode().decode() == storable(name)


@given(names)
def test_a_name_comes_back_as_it_was(name):
    assert os.fsencode(original(storable(name))) == os.fsencode(name)


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_ascii_stays_as_it_is(name):
    assert storable(name) == name


@given(private)
def test_private_use_characters_come_back_too(name):
    assert os.fsencode(original(storable(name))) == os.fsencode(name)


def test_no_two_names_become_one():
    kept = {storable(os.fsdecode(name)).encode() for name in (b"\xff", "\uf7ff".encode())}
    assert len(kept) == 2


@given(st.integers(-(2**63), 2**64 - 1))
def test_a_number_becomes_64_signed_bits_and_keeps_its_value_modulo_2_64(number):
    kept = signed(number)
    assert (-(2**63) <= kept < 2**63, (kept - number) % 2**64) == (True, 0)


@given(st.integers(-(2**63), 2**63 - 1))
def test_what_fits_stays_as_it_is(number):
    assert signed(number) == number
