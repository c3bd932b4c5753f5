"""Human evaluation: blinded sheets of generations for raters, and the table of their ratings.

``draw_study`` chooses texts from records and hides whose they are; ``score_sheets`` reads what the raters filled in.
"""

from bench.human.results import Results, score_sheets
from bench.human.study import CRITERIA, Key, Study, draw_study

__all__ = ["CRITERIA", "Key", "Results", "Study", "draw_study", "score_sheets"]
