"""From the PACS and back: results as DICOM objects, and what receives films and sends results.

It comes with cxrkit and enters it as any package does, by entry points; what it needs is in the extra `cxrkit[clinic]`.
"""
