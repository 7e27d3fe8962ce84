"""Run the core of dicomsort (PyPI) without its window: ``python drive_dicomsort.py SOURCE TARGET``.

Runs in dicomsort's own virtual environment. Its package imports wxPython for the events of its window, which
is stood in for, since the core sends none without a window.
"""

import sys
from unittest import mock

for name in ("dicomsort.gui", "dicomsort.gui.events"):
    sys.modules[name] = mock.MagicMock()

from dicomsort.dicomsorter import DicomSorter  # noqa: E402 - only now can it be imported

sorter = DicomSorter(sys.argv[1])
sorter.folders = ["%(PatientID)s", "%(StudyDate)s", "%(SeriesDescription)s"]
sorter.sort(sys.argv[2])
for thread in sorter.sorters:
    thread.join()
