"""hare_ray: from raw web crawl to an evaluated small language model on one Ray cluster.

Importing this package, and building a whole recipe with it, loads neither ray nor torch.
"""

from pathlib import Path

from hare_ray.compiled import settle

__version__ = "0.1.0"

settle(Path(__file__).parent)  # before any module of ours can compile
