"""Other formats become DICOM: NIfTI volumes and pictures, with what is known of the patient and the study.

Imported lazily: what lies here needs numpy, pydicom and, for most of it, the extra ``formats``.
"""
