"""What the DELLA paper did, for any system: how it decoded its texts."""

from __future__ import annotations

DECODINGS = dict.fromkeys(("della", "della-2022", "della-ltp", "della-lw"), "beam:beams=10")


def paper_decoding(system: str) -> str:
    """Returns how the paper decodes the texts of a system (appendix A.1): DELLA by beam search, others by sampling."""
    return DECODINGS.get(system, "sample:top_k=50")
