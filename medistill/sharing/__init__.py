"""What leaves the house: the bundle and its manifest, signatures, the data card, Croissant, DICOM."""
