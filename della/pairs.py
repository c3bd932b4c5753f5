"""How DELLA reads the source and the text of a conditional task.

The harness frames both: [BOS source EOS], [BOS text EOS]. The paper's model reads each on its own, the released code
reads one sequence; framed by a tokenizer whose begin of text is its end, `JoinedPairs` gives the released sequences:

    posterior   source </s> text </s>
    prior       source </s>
    decoder     source </s> text </s>, of which the text and its end are predicted
"""

from __future__ import annotations

from bench.batch import Batch


class SeparatePairs:
    """Source and text as they are framed."""

    def to_encode(self, batch: Batch) -> Batch:
        """Returns what the encoder reads: the text, and as its condition the source."""
        return batch

    def to_decode(self, batch: Batch) -> Batch:
        """Returns what the decoder reads: the text behind its condition."""
        return batch

    def source_to_encode(self, source: Batch) -> Batch:
        """Returns what the encoder reads of a source without a text."""
        return source

    def source_to_decode(self, source: Batch) -> Batch:
        """Returns what stands in front of the begin of a text."""
        return source


class JoinedPairs(SeparatePairs):
    """Source and text as one sequence: the source without its frame, then the text in its own.

    Args:
        pad: id of padding.
        eos: id of the end of text.
    """

    def __init__(self, pad: int, eos: int) -> None:
        self.pad, self.eos = pad, eos

    def to_encode(self, batch: Batch) -> Batch:
        """Returns source and text in one, and as condition the source with its end."""
        if batch.condition is None:
            return batch
        sources, texts = self._bare(batch.condition), _rows(batch)
        joined = [source + text for source, text in zip(sources, texts, strict=True)]
        return Batch.collate(joined, self.pad, self.source_to_encode(batch.condition)).to(batch.ids.device)

    def to_decode(self, batch: Batch) -> Batch:
        """Returns the text, and as condition the bare source."""
        if batch.condition is None:
            return batch
        return Batch.collate(_rows(batch), self.pad, self.source_to_decode(batch.condition)).to(batch.ids.device)

    def source_to_encode(self, source: Batch) -> Batch:
        """Returns the source without its begin."""
        return Batch.collate([row[1:] for row in _rows(source)], self.pad).to(source.ids.device)

    def source_to_decode(self, source: Batch) -> Batch:
        """Returns the source without begin and end."""
        return Batch.collate(self._bare(source), self.pad).to(source.ids.device)

    def _bare(self, source: Batch) -> list[list[int]]:
        """Returns the ids between begin and end; a source that was cut has no end."""
        return [row[1:-1] if row[-1] == self.eos else row[1:] for row in _rows(source)]


def _rows(batch: Batch) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)]
