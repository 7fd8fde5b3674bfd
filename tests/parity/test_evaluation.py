"""The figures of evaluation beside scikit-learn's; retrieval beside a loop over sorted scores."""

import json

import numpy as np
import pytest
from sklearn import metrics


@pytest.fixture
def figures(run_probe, tmp_path):
    def run(name, **values):
        as_lists = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in values.items()}
        (tmp_path / "in.json").write_text(json.dumps({name: as_lists}))
        return json.loads(run_probe("evaluation", tmp_path / "in.json"))[name]

    return run


@pytest.mark.parametrize("seed", range(3))
def test_binary(figures, seed):
    rng = np.random.default_rng(seed)
    positives, negatives = rng.normal(1, 1, 300).round(1), rng.normal(0, 1, 500).round(1)  # with ties
    ours = figures("binary", positives=positives, negatives=negatives)
    truth, scores = np.repeat([1, 0], [300, 500]), np.concatenate([positives, negatives])
    assert ours["auroc"] == pytest.approx(metrics.roc_auc_score(truth, scores))
    false, true, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    assert ours["accuracy"] == pytest.approx(((true * 300 + (1 - false) * 500) / 800).max())


@pytest.mark.parametrize(("records", "classes"), [(400, 12), (30, 8), (50, 3)])
def test_classes(figures, records, classes):
    rng = np.random.default_rng(records)
    truth = rng.integers(0, max(1, classes - 1), records)  # the last class never occurs
    logits = rng.normal(0, 1, (records, classes))
    logits[np.arange(records), truth] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = probabilities.argmax(1)
    ours = figures("classes", probabilities=probabilities, truth=truth)

    labels = np.arange(classes)
    assert ours["top_1"] == pytest.approx(100 * metrics.accuracy_score(truth, given))
    if classes > 5:
        top_5 = metrics.top_k_accuracy_score(truth, probabilities, k=5, labels=labels)
        assert ours["top_5"] == pytest.approx(100 * top_5)
    assert ours["macro_f1"] == pytest.approx(100 * metrics.f1_score(truth, given, average="macro", zero_division=0))
    assert ours["confusion"] == metrics.confusion_matrix(truth, given, labels=labels).tolist()
    parts = metrics.precision_recall_fscore_support(truth, given, labels=labels, zero_division=0)
    for name, theirs in zip(("precision", "recall", "f1", "support"), parts, strict=True):
        assert ours["classes"][name] == pytest.approx(theirs), name

    confidence, right = probabilities.max(1), given == truth
    bins = np.digitize(confidence, np.linspace(0, 1, 16)[1:-1], right=True)
    error = sum(abs((confidence - right)[bins == b].sum()) for b in range(15)) / records
    assert ours["calibration_error"] == pytest.approx(100 * error, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_multi_label(figures, seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((200, 7)) < np.linspace(0.02, 0.6, 7)
    truth[:, 2] = False
    scores = np.clip(rng.normal(0.35, 0.2, truth.shape) + 0.3 * truth, 0, 1).round(2)
    given = scores.astype(np.float32) >= 0.5
    ours = figures("multi_label", probabilities=scores, truth=[np.flatnonzero(row).tolist() for row in truth])
    occurring = truth.any(0)
    precision = metrics.average_precision_score(truth[:, occurring], scores[:, occurring], average="macro")
    assert ours["mean_average_precision"] == pytest.approx(100 * precision)
    for average in ("micro", "macro"):
        theirs = metrics.f1_score(truth, given, average=average, zero_division=0)
        assert ours[f"{average}_f1"] == pytest.approx(100 * theirs)
    parts = metrics.precision_recall_fscore_support(truth, given, average=None, zero_division=0)
    for name, theirs in zip(("precision", "recall", "f1", "support"), parts, strict=True):
        assert ours["classes"][name] == pytest.approx(theirs), name


def rank_by_sorting(scores, relevant):
    """Ranks of the first relevant row in a sorted list, those that tie with it behind it."""
    ranks = []
    for row, answers in zip(scores, relevant, strict=True):
        order = sorted(range(len(row)), key=lambda j, row=row, answers=answers: (-row[j], j not in answers))
        others_before = 0
        for j in order:
            if j in answers:
                break
            others_before += 1
        ranks.append(others_before)
    return ranks


@pytest.mark.parametrize("seed", range(3))
def test_retrieval(figures, seed):
    rng = np.random.default_rng(seed)
    queries, gallery = rng.integers(-3, 4, (40, 6)), rng.integers(-3, 4, (90, 6))  # sums are exact, ties many
    relevant = [rng.choice(90, rng.integers(1, 6), replace=False).tolist() for _ in range(40)]
    data = {"queries": queries, "gallery": gallery, "relevant": relevant}
    scores = queries @ gallery.T
    by_vectors = rank_by_sorting(scores, relevant)
    assert figures("retrieval", **data)["ranks"] == by_vectors

    again = rng.normal(0, 1, scores.shape).astype(np.float32)
    expected = []
    for q, answers in enumerate(relevant):
        kept = sorted(range(90), key=lambda j, q=q: (-scores[q, j], j))[:20]
        if set(kept) & set(answers):
            local = [i for i, j in enumerate(kept) if j in answers]
            expected += rank_by_sorting([again[q, kept]], [local])
        else:
            expected.append(by_vectors[q])
    assert figures("rerank", **data, count=20, scores=again)["ranks"] == expected
