"""Topics: sentence vectors, k-means over a sample, an assignment for every document, labels and a map."""

from hare_ray.cluster.assign import Assign
from hare_ray.cluster.cluster_map import ClusterMap
from hare_ray.cluster.embed import Embed
from hare_ray.cluster.kmeans import KMeans, suggested_clusters
from hare_ray.cluster.label import LabelClusters

__all__ = ["Assign", "ClusterMap", "Embed", "KMeans", "LabelClusters", "suggested_clusters"]
