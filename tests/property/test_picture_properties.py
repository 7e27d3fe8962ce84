"""Whatever stands in a picture, it becomes instances that are whole or is refused in our words."""

import pytest

pytest.importorskip("PIL", reason="pictures need the extra formats")

from hypothesis import given, settings
from hypothesis import strategies as st
from made_pictures import matrix

from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts
from sorter.convert.instance import write
from sorter.convert.options import Options
from sorter.convert.picture import from_picture
from sorter.convert.recognise import recognise
from sorter.parser.elements import walk

FACTS = Facts({"PatientID": "P1"})
PICTURES = [content for content, _ in matrix().values()]


@st.composite
def damaged(draw):
    content = bytearray(draw(st.sampled_from(PICTURES)))
    reach = draw(st.sampled_from((64, 600, len(content))))
    for _ in range(draw(st.integers(1, 6))):
        content[draw(st.integers(0, min(reach, len(content)) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_a_damaged_picture_is_refused_or_becomes_whole_instances(content):
    try:
        made = list(from_picture(content, FACTS, Options()))
    except ConversionError as error:
        assert str(error)
        return
    for dataset in made:
        walk(write(dataset, dataset.file_meta.TransferSyntaxUID), frozenset())


@given(st.binary(max_size=600))
def test_recognising_never_fails(head):
    recognise(head, len(head))
