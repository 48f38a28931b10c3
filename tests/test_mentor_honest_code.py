"""Students who work alone share what everybody writes: it is left out, and copies are still found."""

import pytest
from everybodys_lines import CURVES, IMPORTS, LOADERS, LOOKS, LOOPS, SAMPLES, SET_UP
from honest_notebooks import notebook, script
from plagiarism import partial, program, renamed, reordered
from test_mentor_similarity import pairs, student

from course.mentor import code_tokens, similarity

STARTER = program(31337, 3).split("\n\n", 1)[1]
"""What the course of these tests hands out: a third of a notebook, or more."""
GIVEN = frozenset(value for value, *_ in similarity.hashes(STARTER))
DISGUISES = [
    renamed,
    lambda text, seed: reordered(renamed(text, seed), seed),
    lambda text, seed: partial(text, program(70_000 + seed, 3)),
    lambda text, seed: partial(renamed(text, seed), program(70_000 + seed, 3)),
]


def honest(seed: int) -> dict:
    """A student who works alone: 1 to 10 functions in a notebook full of what everybody writes."""
    return student(notebook(seed, functions=(1, 2, 3, 5, 10)[seed % 5], given=STARTER))


def small_class(seed: int, size: int) -> tuple[dict[str, dict], frozenset[str]]:
    """`size` students of whom one copies another, and that pair."""
    own = program(10_000 + seed)
    copy = DISGUISES[seed % len(DISGUISES)](own, seed)
    group = {f"alone{index}": honest(100 * seed + index) for index in range(size - 2)}
    group["author"] = student(notebook(100 * seed + 98, given=STARTER, own=own))
    group["copier"] = student(script(100 * seed + 99, given=STARTER, own=copy))
    return group, frozenset(("author", "copier"))


def test_in_small_classes_copies_are_found_and_nothing_else():
    """24 classes of three to five, where frequency in the class says nothing, each with one copy.

    Measured: all 24 copies found and none of the 128 honest pairs; when all statements counted, the 24 and 96
    honest pairs, a precision of 0.20."""
    right = wrong = 0
    for size in (3, 4, 5):
        for seed in range(8):
            group, copy = small_class(seed, size)
            found = pairs(group, GIVEN)
            right, wrong = right + (copy in found), wrong + len(found - {copy})
    assert right / 24 >= 0.95 and right / (right + wrong) >= 0.95, (right, wrong)


def test_forty_honest_notebooks_are_not_alike():
    """780 pairs.  Measured: none is reported; when all statements counted, 39 were."""
    assert len(pairs({f"s{seed}": honest(500 + seed) for seed in range(40)}, GIVEN)) <= 7


def test_a_group_that_copies_from_one_is_found_in_a_class_of_any_size():
    own = program(4321)
    copies = {f"copier{index}": student(script(index, own=renamed(own, index))) for index in range(4)}
    for alone in (0, 1, 30):
        group = copies | {f"alone{index}": honest(900 + index) for index in range(alone)}
        found = similarity.compare(group, set(GIVEN))
        assert len(found) == 6 and all("4 students have this place" in pair["note"] for pair in found)


# ---- what everybody writes


@pytest.mark.parametrize(
    ("text", "common"),
    [
        ("import torch", True),
        ("from torch.utils.data import DataLoader, Dataset", True),
        ("plt.plot(history['loss'], label='train', color='red')", True),
        ("ax[0, 1].imshow(image.permute(1, 2, 0).cpu().numpy(), cmap='gray')", True),
        ("fig, axes = plt.subplots(\n    2, 5,\n    figsize=(10, 4),\n)", True),
        ("loader = DataLoader(data, batch_size=64, shuffle=True)", True),
        ("torch.manual_seed(0)", True),
        ("loss.backward()", True),
        ("print(f'{epoch}: {loss.item():.4f} {best}')", True),
        ("for images, _ in loader:", True),
        ("outputs = model(images)", True),
        ("loss = F.mse_loss(outputs, images) + beta * kl(mu, logvar)", False),
        ("plt.plot(np.cumsum(values) / np.hypot(a, b))", False),
        ("z = mu + (0.5 * logvar).exp() * eps", False),
        ("self.grid = 3 * self.show + self.plot", False),
        ("grid = torch.meshgrid(a, b)", False),
    ],
)
def test_which_statements_are_common(text, common):
    (statement,) = code_tokens.statements(text)
    assert statement.is_common() == common


def test_statements_are_logical_lines():
    text = (
        "a = f(1,\n      # why\n      2)\nb = '''x\n\ny'''\nc = 1 + \\\n    2\n@torch.no_grad()\n"
        "def f(x):\n    '''Doc.\n\n    More.\n    '''\n    return [\n        x\n    ]\n"
    )
    shown = [" ".join(word for word, _ in each.tokens) for each in code_tokens.statements(text)]
    assert shown[0] == "N = N ( L , L )" and shown[1:3] == ["N = L", "N = L + L"]
    assert shown[4:] == ["def N ( N ) :", "return [ N ]"]


def test_a_bracket_that_is_never_closed_hides_one_function_at_most():
    text = "x = f(1\n" + program(8)
    lines = [len(each.tokens) for each in code_tokens.statements(text)]
    assert len(lines) > 60 and pairs({"a": student(text), "b": student(program(8))}) == {frozenset("ab")}


def test_what_a_fixture_of_common_lines_leaves_says_nothing():
    parts = [*IMPORTS, *SET_UP, *LOADERS, *LOOKS, *LOOPS, *CURVES, *SAMPLES]
    whole, left = (
        sum(len(each.tokens) for part in parts for each in code_tokens.statements(part) if keep(each))
        for keep in (lambda each: True, lambda each: not each.is_common())
    )
    assert left / whole < 0.15


def test_lines_of_others_between_its_own_do_not_hide_a_copy():
    code = program(21)
    noisy = code.replace("\n    ", "\n    print('here', flush=True)\n    ")
    assert pairs({"a": student(code), "b": student(noisy)}) == {frozenset("ab")}


def test_leftovers_far_from_one_another_are_no_piece_of_code():
    between = CURVES[0] + CURVES[1]
    scattered = between.join(f"a{index} = q.w{index}(a{index}, b) ** {index}\n" for index in range(40))
    dense = scattered.replace(between, "")
    assert similarity.fingerprints(scattered) == [] and len(similarity.fingerprints(dense)) > 40


def test_what_is_mostly_of_given_code_does_not_count():
    assert similarity.TOKENS == 24
    prints = [(1, 50, 0), (2, 60, 8), (3, 70, 14), (4, 80, 40)]
    assert similarity.own(prints, {1}) == {3: 70, 4: 80}
    assert similarity.own(prints, set()).keys() == {1, 2, 3, 4}


def test_a_network_from_a_paper_is_no_copy():
    published = similarity.PUBLISHED.read_text(encoding="utf-8")
    network = published[published.index("nn.Sequential") : published.index("def weights_init")]
    group = {
        "a": student(f"net = {network}\n{program(1, 3)}"),
        "b": student(f"body = {network}\n{program(2, 3)}"),
    }
    assert pairs(group) == {frozenset("ab")}, "without knowing what is published"
    assert pairs(group, frozenset(value for value, *_ in similarity.hashes(published))) == set()


# ---- the very same file


COMMON_ALONE = "\n".join((IMPORTS[0], SET_UP[0], CURVES[1]))


def test_a_file_of_common_lines_alone_is_said_if_it_is_the_same_to_the_letter():
    again = COMMON_ALONE.replace("\n", "  \n\n")
    (found,) = similarity.compare({"a": student(COMMON_ALONE), "b": student(again)}, set())
    assert (found["note"], found["share"]) == ("the very same file", 1.0)
    assert found["first_text"].startswith("\nimport os") and "plt" not in found["first_place"]
    assert pairs({"a": student(COMMON_ALONE), "b": student(COMMON_ALONE.replace("seed", "start"))}) == set()


def test_the_very_same_file_is_no_copy_if_it_is_short_or_was_given_or_many_have_it():
    short = "\n".join(COMMON_ALONE.split("\n")[:15])
    assert pairs({"a": student(short), "b": student(short)}) == set()
    given = frozenset({similarity.letters(COMMON_ALONE)})
    assert pairs({"a": student(COMMON_ALONE), "b": student(COMMON_ALONE)}, given) == set()
    assert pairs({f"s{index}": student(COMMON_ALONE) for index in range(8)}) == set()


def test_a_copied_file_is_said_once():
    code = program(5)
    assert len(similarity.compare({"a": student(code), "b": student(code)}, set())) == 1
