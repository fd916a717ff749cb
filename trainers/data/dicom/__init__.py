"""DICOM files: their headers, the series that a scan is made of, and its conversion; needs the extra `dicom`."""
