"""Topics: vectors, k-means over a sample, an assignment for every document, labels, balance and a map."""

from hare_ray.cluster.assign import Assign
from hare_ray.cluster.balance import Balance
from hare_ray.cluster.cluster_map import ClusterMap
from hare_ray.cluster.embed import Embed
from hare_ray.cluster.kmeans import KMeans, suggested_clusters
from hare_ray.cluster.label import LabelClusters
from hare_ray.cluster.static import StaticModel
from hare_ray.cluster.static_embed import EmbedStatic
from hare_ray.cluster.titles import TitlePrompts, Titles

__all__ = [
    "Assign",
    "Balance",
    "ClusterMap",
    "Embed",
    "EmbedStatic",
    "KMeans",
    "LabelClusters",
    "StaticModel",
    "TitlePrompts",
    "Titles",
    "suggested_clusters",
]
