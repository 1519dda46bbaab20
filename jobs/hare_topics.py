"""What D1 keeps: the middle of the recipe in jobs/hare.py. Topics, quality, and from both the selection."""

from dataclasses import dataclass

from hare_documents import MIB, Unique, opted_out
from hare_ray.cluster import (
    Assign,
    Balance,
    ClusterMap,
    Embed,
    EmbedStatic,
    KMeans,
    LabelClusters,
    StaticModel,
    TitlePrompts,
    Titles,
)  # fmt: skip
from hare_ray.cluster.packaged import embedder
from hare_ray.dedup.semantic import SemanticDuplicates
from hare_ray.priors.quality import examples_file, load_rubric
from hare_ray.priors.scales import Scale
from hare_ray.priors.titles import topic_title
from hare_ray.priors.topics import load_topics
from hare_ray.quality import Committee, Labelled, RatingPrompts, Ratings, Score, Select
from hare_ray.stage import Annotate, Keep, Make, Rebalance, Source, Table
from hare_ray.synth.writer import Writer
from hare_ray.tokens import Repeats
from hare_synthesis import answered

LABELS = ""
"""Your labels of quality: path, glob or URL of JSONL(.gz) files, a line {"text": ..., "label": "good", "poor" or points
from 0 to 5}; they join the examples of hare_ray/priors/quality_examples.yaml. Empty: none."""

MIN_QUALITY = 0.01
"""Below it no share helps. The committee's chances are of texts like its examples; on pages unlike them they are low,
half of the demo's under 0.11, so that shares decide what is kept and this only takes what it is sure of."""


@dataclass(frozen=True)
class Embedder:
    """Who says what a text means: a sentence-transformers model, or word vectors that were learned from it."""

    model: Source
    static: StaticModel | None
    gpus: int

    def __call__(self, label: str, docs: Table) -> Embed | EmbedStatic:
        """The vector of every document."""
        if self.static is not None:
            return EmbedStatic(label=label, docs=docs, static=self.static, dimensions=384)
        return Embed(
            label=label, docs=docs, model=self.model, dimensions=384, max_tokens=256, max_chunks=1,
            batch_rows=256 if self.gpus else 8,  # the fastest on two cores; of a GPU not tried yet
            dtype="float16" if self.gpus else "bfloat16", gpus=self.gpus,
        )  # fmt: skip


@dataclass(frozen=True)
class Topics:
    """What D1 is sorted and judged by, and synthetic text after it."""

    embedder: Embedder
    centroids: Make
    committee: Make
    labels: Make
    dots: Make
    repeats: Repeats | None
    """None: every document once."""


def selected(leak_free: Keep, unique: Unique, scale: Scale, llm: Writer | None) -> tuple[Keep, Topics]:
    """D1: nothing twice in other words, the best of every topic, topics in the proportions of priors/topics.yaml."""
    # Semantic diversity: topics from embeddings.
    embed = embedded(leak_free, scale)
    embedding = embed("embed", leak_free)
    centroids = KMeans(
        embeddings=embedding, clusters=None, sample_rows=5_000_000, iterations=20, seed=1, spherical=True,
        gpus=min(scale.gpus, 1),
    )  # fmt: skip
    clusters = Assign(embeddings=embedding, centroids=centroids)

    # Even quality: a committee, taught by labelled texts, scores every document.
    labelled = labels_of(leak_free, llm, scale)
    committee = Committee(
        labelled=labelled, embeddings=embed("labelled_embed", labelled), good_from=0.6, max_examples=50_000,
        temperature=5.0, seed=1, folds=8,
    )  # fmt: skip
    scores = Score(docs=leak_free, embeddings=embedding, committee=committee)

    semantic = SemanticDuplicates(
        docs=leak_free, embeddings=embedding, clusters=clusters, opinions=(scores,), min_similarity=0.95,
        prefer=("quality",),
    )  # fmt: skip
    gone = (semantic, *opted_out(leak_free, unique))
    select = Select(
        docs=leak_free, clusters=clusters, scores=scores, without=gone, keep_share=0.8, min_topic_share=0.4,
        min_quality=MIN_QUALITY,
    )  # fmt: skip
    labels = titled(leak_free, clusters, scores, llm, scale)
    prior = load_topics()
    balance = Balance(
        docs=leak_free, clusters=clusters, scores=scores, labels=labels, without=(*gone, select), prior=prior
    )
    dots = ClusterMap(docs=leak_free, embeddings=embedding, clusters=clusters, max_rows=5000, seed=1)
    verdicts, carry = (*gone, select, balance), ("cluster", "quality", "weight")
    d1 = Keep(label="d1", docs=leak_free, verdicts=verdicts, opinions=(clusters, scores), carry=carry)
    repeats = Repeats(docs=d1, seed=1) if prior.max_epochs > 1 else None
    return d1, Topics(embed, centroids, committee, labels, dots, repeats)


def embedded(docs: Table, scale: Scale) -> Embedder:
    """MiniLM, or, where a scale wants it, word vectors learned from MiniLM on these documents."""
    model = Source(label="embedder", location=embedder())
    static = StaticModel(
        docs=docs, model=model, dimensions=384, max_tokens=128, max_words=100, half_words=50.0, vocabulary=100_000,
        min_documents=2, vocabulary_rows=200_000, sample_rows=20_000, held_out=0.05, ridge=1.0, steps=15,
        batch_rows=32, dtype="bfloat16", seed=1,
    )  # fmt: skip
    return Embedder(model, static if scale.static_embedding else None, scale.gpus)


def labels_of(docs: Table, llm: Writer | None, scale: Scale) -> Table:
    """Texts with labels: the examples in priors/, files of yours, and, with an LLM, what it says of some documents."""
    places = {"examples": examples_file(), "labels": LABELS}
    found: list[Table] = [
        Labelled(label=name, files=Source(label=f"{name}_files", location=where), scale=5.0, max_record_bytes=8 * MIB)
        for name, where in places.items() if where
    ]  # fmt: skip
    if llm is not None and llm.chat:
        prompts = RatingPrompts(
            docs=docs, rubric=load_rubric(), share=scale.rated_share, salt="rubric", may_be_empty=True
        )
        answers = answered("rating_answers", prompts, llm, 512, scale.gpus, temperature=0.0)
        found.append(Ratings(prompts=prompts, answers=answers, may_be_empty=True))
    return Rebalance(label="labelled", docs=tuple(found), part_bytes=scale.part_mib * MIB)


def titled(docs: Table, clusters: Assign, scores: Score, llm: Writer | None, scale: Scale) -> Make:
    """What every topic is about: words and documents, and, where an LLM is at hand, a title."""
    labels = LabelClusters(
        docs=docs, clusters=clusters, scores=scores, words_per_label=4, nearest=5, documents_per_cluster=200
    )
    if llm is None or not llm.chat:
        return labels
    prompts = TitlePrompts(docs=docs, clusters=clusters, labels=labels, template=topic_title())
    return Titles(labels=labels, prompts=prompts, answers=answered("title_answers", prompts, llm, 64, scale.gpus, 0.0))


def judged(name: str, docs: Keep, topics: Topics) -> tuple[Keep, Annotate]:
    """Of synthetic text what is not poor, with the topic of D1 that it is nearest to; and the vectors of all of it."""
    embedding = topics.embedder(f"{name}_embed", docs)
    clusters = Assign(label=f"{name}_assign", embeddings=embedding, centroids=topics.centroids)
    scores = Score(label=f"{name}_score", docs=docs, embeddings=embedding, committee=topics.committee)
    select = Select(
        label=f"{name}_select", docs=docs, clusters=clusters, scores=scores, keep_share=1.0, min_topic_share=0.0,
        min_quality=MIN_QUALITY,
    )  # fmt: skip
    kept = Keep(
        label=name, docs=docs, verdicts=(select,), opinions=(clusters, scores), carry=("cluster", "quality"),
        may_be_empty=docs.may_be_empty,
    )  # fmt: skip
    return kept, embedding
