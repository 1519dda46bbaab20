"""hare_ray: from raw web crawl to an evaluated small language model on one Ray cluster.

Importing this package, and building a whole recipe with it, loads neither ray nor torch.
"""

__version__ = "0.1.0"
