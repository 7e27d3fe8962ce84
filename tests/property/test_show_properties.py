"""Whatever a damaged file holds, showing it ends in a page, a picture or a reason."""

import io
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from support import bundled, dicom

from sorter.picture import NoPictureError, picture
from sorter.show import about_instance, element_lines, json_model, open_instance, thumbnail
from sorter.show.instance import UnreadableError

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's


def with_tables():
    """An instance with a Modality LUT, a VOI LUT and a functional group."""
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [8, 0, 16])
    table.add_new("LUTData", "US", list(range(0, 800, 100)))
    group = Dataset()
    group.FrameVOILUTSequence = [Dataset()]
    group.FrameVOILUTSequence[0].WindowCenter, group.FrameVOILUTSequence[0].WindowWidth = 40, 400
    return dicom(
        1, ModalityLUTSequence=[table], VOILUTSequence=[table], PixelPaddingValue=3, PixelSpacing=[1, 2],
        SharedFunctionalGroupsSequence=[group],
    )  # fmt: skip


SEEDS = [
    with_tables(),
    *(bundled(name).read_bytes() for name in ("MR_small_RLE.dcm", "examples_palette.dcm", "CT_small.dcm")),
]
HEAD = 3000  # most of what matters lies there
DAMAGE = st.lists(
    st.tuples(st.integers(132, HEAD), st.sampled_from([*range(0, 256, 15), *b"0123456789.-eE\\ ^"])),
    min_size=1,
    max_size=20,
)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, len(SEEDS) - 1), damage=DAMAGE)
def test_a_damaged_file_is_shown_or_refused_with_a_reason(seed, damage):
    data = bytearray(SEEDS[seed])
    for place, byte in damage:
        data[min(place, len(data) - 1)] = byte
    with TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(data)
        try:
            dataset = open_instance(path)
        except UnreadableError:
            return
    assert set(about_instance(dataset)) == {"person", "study", "series", "instance", "geometry", "encoding"}
    assert all(line.isprintable() for line in element_lines(dataset))
    assert all(len(tag) == 8 for tag in json_model(dataset, path))
    try:
        shown = picture(dataset)
    except NoPictureError:
        return
    assert (shown.dtype, shown.ndim in (2, 3)) == (np.uint8, True)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    colour=st.booleans(),
    columns=st.integers(1, 100),
)
def test_a_thumbnail_never_exceeds_its_width(shape, colour, columns):
    made = np.zeros((*shape, 3) if colour else shape, np.uint8)
    lines = thumbnail(made, columns).splitlines()
    assert max(line.count("\u2580") for line in lines) <= columns
    assert len(lines) <= (columns + 1) // 2


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 65535), min_size=4, max_size=4),
    center=st.floats(-1e5, 1e5),
    width=st.floats(0.01, 1e5),
)
def test_a_window_never_reverses_the_order_of_values(values, center, width):
    import pydicom

    data = dicom(1, Rows=2, Columns=2, PixelData=np.array(values, "<u2").tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = picture(pydicom.dcmread(io.BytesIO(data)), window=(center, width)).reshape(-1)
    assert np.all(np.diff(shown[np.argsort(values, kind="stable")].astype(int)) >= 0)
