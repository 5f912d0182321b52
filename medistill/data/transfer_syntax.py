"""Transfer syntax: how the pixels of a DICOM file are coded (PS3.5, A; PS3.6, A), and whether they can be decoded."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from medistill.data.refusal import RejectedFile

ENCAPSULATED_UNCOMPRESSED = UID("1.2.840.10008.1.2.1.98")
DEFLATED_FRAME = UID("1.2.840.10008.1.2.8.1")
FRAMED = (ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAME)
"""Native pixels in a fragment, as they are or deflated."""
NEWER = {
    DEFLATED_FRAME: "Deflated Image Frame Compression",
    UID("1.2.840.10008.1.2.4.110"): "JPEG XL Lossless",
    UID("1.2.840.10008.1.2.4.111"): "JPEG XL JPEG Recompression",
    UID("1.2.840.10008.1.2.4.112"): "JPEG XL",
}
"""Syntaxes that pydicom does not know yet, with their names in the standard."""
STANDARD = "1.2.840.10008.1.2."
"""Root of the standard's own transfer syntaxes; what stands below it is no identifier of anybody."""


def syntax_name(syntax: UID) -> str:
    """Its name in the standard, or its UID where it is one of the standard's that is not known here."""
    return NEWER.get(syntax) or str(syntax.name)


def decodable_syntax(header: Dataset) -> UID:
    """The transfer syntax of a file, if its pixels can be decoded.

    Raises:
        RejectedFile: it states none, one that is not the standard's, or one that nothing installed decodes.
    """
    stated = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    if stated in (None, ""):
        raise RejectedFile("no transfer syntax", "it does not say how its pixels are coded (no file meta information)")
    syntax = UID(str(stated))
    if syntax in FRAMED:
        return syntax
    if not (syntax in NEWER or syntax.startswith(STANDARD) or syntax.is_transfer_syntax):
        raise RejectedFile("unknown coding", "its transfer syntax is not one of the standard's")
    try:
        known = syntax == RLELossless or get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        raise RejectedFile(
            "unsupported coding", f"nothing installed decodes {syntax_name(syntax)} (see `medistill doctor`)"
        )
    return syntax


def is_framed(syntax: UID) -> bool:
    """Whether pixels lie in fragments, so that a frame has to be taken out of them."""
    return syntax in FRAMED or (syntax.is_compressed and syntax.is_encapsulated)


def decoder_of(syntax: UID) -> UID:
    """The syntax whose decoder reads a frame, once it is taken out of its fragments and inflated."""
    return ExplicitVRLittleEndian if syntax in FRAMED else syntax
