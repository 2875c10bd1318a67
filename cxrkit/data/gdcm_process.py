"""A process that decodes one JPEG stream with GDCM: stream on stdin, samples on stdout; it imports nothing of cxrkit.

Arguments: rows, columns and bits of a sample. Samples are uint8 up to 8 bits, else uint16, in the machine's byte order.
"""

import sys
from typing import Any


def main() -> None:
    """Decode, or exit with a line on stderr."""
    import gdcm

    rows, columns, bits = map(int, sys.argv[1:])
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(sys.stdin.buffer.read())
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image: Any = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    # Whatever the file's own syntax is: GDCM looks at the stream, but at its depth for extended JPEG only.
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 if bits <= 8 else 16, bits, bits - 1, 0))
    samples = image.GetBuffer()
    if samples is None:
        sys.exit("GDCM can't decode the stream")
    # GDCM gives bytes as text.
    sys.stdout.buffer.write(samples.encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    main()
