"""The real texts of the tasks: what they are, and how they are downloaded and sampled."""

from bench.corpora.corpus import Corpus, corpora, load_corpus

__all__ = ["Corpus", "corpora", "load_corpus"]
