"""Power loss: what the disk may hold when the current fails at any moment of a recorded run, and what must hold then.

``trace`` is the language of a recording, ``strace`` and ``vfs`` are two recorders, ``programs`` is what is recorded.
``disk`` builds the images that a disk may show after the power failed at a point of the trace. ``ledgers`` and
``engines`` judge them, ``sweep`` does it for all points on all processors.
"""
