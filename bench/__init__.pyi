from bench.api import Latents as Latents
from bench.api import Results as Results
from bench.api import TextVAE as TextVAE
from bench.api import load as load
from bench.api import results as results
from bench.api import run as run
from bench.api import score as score

__version__: str
__all__: list[str]
