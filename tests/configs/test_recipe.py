from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from configs.errors import UserError
from configs.recipe import find_recipe, load_recipe, resolved_toml, shipped_recipes, write_recipe
from configs.schema import CorpusConfig, DataConfig, ModelConfig, OptimizerConfig, Recipe, TrainConfig

# Any text that TOML can hold: no lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(source: Path | str, *overrides: str) -> str:
    """Return the error message."""
    with pytest.raises(UserError) as caught:
        load_recipe(source, overrides)
    return str(caught.value)


class TestReading:
    def test_a_file_is_read(self, tmp_path: Path) -> None:
        recipe = load_recipe(write(tmp_path, "r.toml", 'name = "x"\n[train]\nsteps = 20000\n'))
        assert (recipe.name, recipe.train.steps, recipe.train.seed) == ("x", 20_000, 42)

    @pytest.mark.parametrize("source", ["moved/other", "moved/other/", "link"])
    def test_a_run_folder_names_its_run_wherever_it_is(
        self, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise `train` would begin a second run beside the working folder, instead of resuming the one given."""
        monkeypatch.chdir(tmp_path)
        run = Path("moved/other")
        run.mkdir(parents=True)
        Path("link").symlink_to(run)
        write_recipe(load_recipe("demo"), run / "recipe.toml")
        recipe = load_recipe(source)
        assert (Path(recipe.runs) / recipe.name).samefile(run)
        assert load_recipe(source, ["name=copy"]).name == "copy"
        monkeypatch.chdir(run)
        recipe = load_recipe(".")
        assert (recipe.name, Path(recipe.runs).samefile("..")) == ("other", True)

    def test_a_run_folder_that_has_no_name_of_a_run_is_refused_at_its_file(self, tmp_path: Path) -> None:
        run = tmp_path / "a copy"
        run.mkdir()
        write_recipe(load_recipe("demo"), run / "recipe.toml")
        assert refusal(run).startswith(f"{run / 'recipe.toml'}: `name` = 'a copy'")

    def test_a_shipped_name_and_a_run_folder_are_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert load_recipe("demo").name == "demo"
        write_recipe(load_recipe("demo", ["name=mine"]), tmp_path / "recipe.toml")
        assert load_recipe(tmp_path / "recipe.toml").name == "mine"
        (tmp_path / "demo").mkdir()  # a folder of that name is not a recipe
        assert load_recipe("demo").name == "demo"
        write(tmp_path, "demo.toml", 'name = "local"')
        assert load_recipe("demo.toml").name == "local"

    def test_a_missing_recipe_is_refused(self) -> None:
        line = refusal("dmo")
        assert line.startswith("dmo: no such recipe.")
        assert "demo" in line

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"steps = ", "not valid TOML"),
            (b"a = 1\na = 2", "not valid TOML"),
            (b"# \xff", "not UTF-8"),
        ],
    )
    def test_invalid_toml_is_refused(self, tmp_path: Path, content: bytes, words: str) -> None:
        path = tmp_path / "r.toml"
        path.write_bytes(content)
        assert refusal(path).startswith(f"{path}: {words}")


class TestBases:
    def test_a_recipe_overrides_its_base(self, tmp_path: Path) -> None:
        write(tmp_path, "low.toml", 'name = "low"\n[train]\nsteps = 20000\nseed = 1\n[model]\nhidden_size = 24\n')
        write(tmp_path, "mid.toml", 'base = "low.toml"\n[train]\nseed = 2\n')
        top = write(tmp_path, "top.toml", 'base = "mid.toml"\nname = "top"\n')
        recipe = load_recipe(top)
        assert (recipe.name, recipe.train.steps, recipe.train.seed, recipe.model.hidden_size) == ("top", 20_000, 2, 24)

    def test_a_list_replaces_that_of_the_base(self, tmp_path: Path) -> None:
        write(tmp_path, "low.toml", '[[data.corpora]]\npaths = ["a", "b"]\nformat = "text"\n')
        top = write(tmp_path, "top.toml", 'base = "low.toml"\n[[data.corpora]]\npaths = ["c"]\nformat = "jsonl"\n')
        assert [corpus.paths for corpus in load_recipe(top).data.corpora] == [["c"]]

    def test_a_base_is_in_the_same_folder_or_shipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        below = tmp_path / "below"
        below.mkdir()
        write(tmp_path, "elsewhere.toml", "")
        monkeypatch.chdir(tmp_path)
        assert load_recipe(write(below, "a.toml", 'base = "../elsewhere.toml"')).name == "bert"
        assert load_recipe(write(below, "b.toml", 'base = "demo"')).name == "demo"
        assert load_recipe(write(below, "c.toml", 'base = "demo.toml"')).name == "demo"
        assert "its base 'elsewhere.toml' does not exist" in refusal(write(below, "d.toml", 'base = "elsewhere.toml"'))

    def test_circular_bases_are_refused(self, tmp_path: Path) -> None:
        write(tmp_path, "a.toml", 'base = "b.toml"')
        assert "its own base" in refusal(write(tmp_path, "b.toml", 'base = "a.toml"'))

    def test_a_base_that_is_not_a_name_is_refused(self, tmp_path: Path) -> None:
        assert "`base` is not a string" in refusal(write(tmp_path, "a.toml", "base = 3"))

    def test_an_error_names_the_file_that_sets_the_value(self, tmp_path: Path) -> None:
        low = write(tmp_path, "low.toml", "[train]\nsteps = 0\nstpes = 2\n")
        top = write(tmp_path, "top.toml", 'base = "low.toml"\n[train]\nseed = 2\n')
        assert refusal(top).startswith(f"{low}: `train.steps` = 0: ")
        assert refusal(top, "train.steps=5").startswith(f"{low}: unknown key `train.stpes`. ")
        assert refusal(write(tmp_path, "low.toml", ""), "train.steps=5", "train={steps = 0}").startswith("'train={")


class TestSite:
    @pytest.fixture
    def site(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = write(tmp_path, "site.toml", '[cluster]\npartition = "gpu"\naccount = "nlp@lab"\nnodes = 2\n')
        monkeypatch.setenv("BERTRAIN_SITE", str(path))
        return path

    @pytest.mark.usefixtures("site")
    def test_its_cluster_holds_where_a_recipe_says_nothing_else(self, tmp_path: Path) -> None:
        recipe = load_recipe(write(tmp_path, "recipe.toml", "[cluster]\nnodes = 4\n"), ["cluster.account=other"])
        assert (recipe.cluster.partition, recipe.cluster.nodes, recipe.cluster.account) == ("gpu", 4, "other")

    def test_it_lies_below_the_bases_of_a_recipe(self, site: Path, tmp_path: Path) -> None:
        write(tmp_path, "below.toml", "[cluster]\nnodes = 3\n")
        recipe = load_recipe(write(tmp_path, "mine.toml", 'base = "below.toml"\n'))
        assert (recipe.cluster.nodes, recipe.cluster.partition) == (3, "gpu")
        site.write_text('base = "below.toml"\n[cluster]\npartition = "cpu"\n')
        recipe = load_recipe(write(tmp_path, "mine.toml", 'name = "x"\n'))
        assert (recipe.cluster.nodes, recipe.cluster.partition) == (3, "cpu")

    def test_it_changes_no_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
        monkeypatch.delenv("BERTRAIN_SITE")
        (tmp_path / "run").mkdir()
        write_recipe(load_recipe("demo"), tmp_path / "run" / "recipe.toml")
        monkeypatch.setenv("BERTRAIN_SITE", str(site))
        assert load_recipe(tmp_path / "run").cluster.partition is None
        text = (tmp_path / "run" / "recipe.toml").read_text()
        write(tmp_path / "run", "recipe.toml", f"\ufeff{text}")  # as an editor on Windows writes it
        assert load_recipe(tmp_path / "run" / "recipe.toml").cluster.partition is None

    def test_faults_in_it_are_named_as_its_own(self, site: Path) -> None:
        site.write_text("[cluster]\nnodes = 0\n")
        assert refusal("demo").startswith(f"{site}: `cluster.nodes` = 0")
        site.write_text("[train]\nsteps = 5\n")
        assert refusal("demo") == (
            f"{site}: a site's profile has [cluster] only, not train. "
            "Move the rest to a recipe, which others can name as their `base`."
        )
        site.unlink()
        assert "cannot read: No such file" in refusal("demo")


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "section", "key", "value"),
        [
            ("train.steps=20000", "train", "steps", 20_000),
            ("train.steps = 20_000", "train", "steps", 20_000),
            ("optimizer.learning_rate=3e-4", "optimizer", "learning_rate", 3e-4),
            ("optimizer.learning_rate=1", "optimizer", "learning_rate", 1.0),
            ("train.precision=fp32", "train", "precision", "fp32"),
            ('train.precision="fp32"', "train", "precision", "fp32"),
            ("data.vocabulary={size = 500}", "data", "vocabulary", {"size": 500}),
            ("data.dataset=/a b/it's=here, # not a comment", "data", "dataset", "/a b/it's=here, # not a comment"),
            ("data.dataset='quoted'", "data", "dataset", "quoted"),
            ("data.dataset=2024", "data", "dataset", "2024"),
            ("data.dataset=1979-05-27", "data", "dataset", "1979-05-27"),
            ("data.dataset=true", "data", "dataset", "true"),
            ("cluster.partition=7", "cluster", "partition", "7"),
        ],
    )
    def test_override_values_are_parsed(self, override: str, section: str, key: str, value: object) -> None:
        got = getattr(getattr(load_recipe("demo", [override]), section), key)
        if isinstance(value, dict):
            got = {name: getattr(got, name) for name in value}
        assert got == value
        assert type(got) is type(value)

    def test_overrides_reach_top_level_nested_and_list_keys(self) -> None:
        recipe = load_recipe("demo", ["name=2024", "data.vocabulary.size=500", 'data.corpora.0.paths=["x y"]'])
        assert (recipe.name, recipe.data.vocabulary.size, recipe.data.corpora[0].paths) == ("2024", 500, ["x y"])

    def test_the_last_override_wins(self) -> None:
        assert load_recipe("demo", ["train.seed=1", "train.seed=2"]).train.seed == 2

    @pytest.mark.parametrize("override", ["train.steps", "=5", "", " = 5"])
    def test_malformed_overrides_are_refused(self, override: str) -> None:
        assert "not an override" in refusal("demo", override)

    @pytest.mark.parametrize("override", ["data.corpora.9.paths=x", "data.corpora.x.paths=x", "name.x=5", "a.b.c=1"])
    def test_overrides_of_unknown_keys_are_refused(self, override: str) -> None:
        assert override in refusal("demo", override)

    def test_a_line_break_cannot_set_another_key(self) -> None:
        assert "`train.seed` = '1\\nx=2'" in refusal("demo", "train.seed=1\nx=2")

    def test_an_error_names_the_override(self, tmp_path: Path) -> None:
        path = write(tmp_path, "r.toml", "[train]\nseed = -1\n")
        assert refusal("demo", "train.seed=-1").startswith("'train.seed=-1': `train.seed` = -1: ")
        assert refusal(path, "name=x").startswith(f"{path}: `train.seed` = -1: ")


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "fix"),
        [
            ("[train]\nstpes = 5", "Did you mean `train.steps`?"),
            ("[train]\nlearning_rate = 0.1", "Did you mean `optimizer.learning_rate`?"),
            ("[trian]\nsteps = 5", "Did you mean `train`?"),
            ("[model]\nhiden_size = 5", "Did you mean `model.hidden_size`?"),
            ("[data.vocabulary]\nlower_case = true", "Did you mean `data.vocabulary.lowercase`?"),
            ("[model]\nzzzzqqqq = 5", "`bertrain config RECIPE` lists every key."),
        ],
    )
    def test_an_unknown_key_names_the_nearest(self, tmp_path: Path, text: str, fix: str) -> None:
        line = refusal(write(tmp_path, "r.toml", text))
        assert "unknown key `" in line
        assert line.endswith(fix)

    def test_a_wrong_value_shows_key_value_rule_and_meaning(self, tmp_path: Path) -> None:
        path = write(tmp_path, "r.toml", "[train]\nsteps = 0\n")
        assert refusal(path) == (
            f"{path}: `train.steps` = 0: Input should be greater than or equal to 1. Total number of optimizer steps."
        )

    def test_a_missing_key_is_named(self, tmp_path: Path) -> None:
        path = write(tmp_path, "r.toml", '[[data.corpora]]\npaths = ["x"]\n')
        assert f"{path}: `data.corpora.0.format` is missing. Set data.corpora.0.format=VALUE. wikipedia: " in refusal(
            path
        )

    def test_a_value_in_place_of_a_section_is_refused(self, tmp_path: Path) -> None:
        line = refusal(write(tmp_path, "r.toml", "train = 5"))
        assert line.endswith("`train` is a section, not a value. Write [train] and its keys below it.")

    @pytest.mark.parametrize(
        ("text", "cause"),
        [
            ('corpora = "x"', "`data.corpora` is a list of sections, not a value."),
            ('corpora = ["x"]', "`data.corpora.0` is a section, not a value."),
        ],
    )
    def test_a_value_in_place_of_a_list_of_sections_is_refused(self, text: str, cause: str, tmp_path: Path) -> None:
        path = write(tmp_path, "r.toml", f"[data]\n{text}\n")
        assert refusal(path) == f"{path}: {cause} Write [[data.corpora]] and its keys below it."

    def test_a_byte_order_mark_is_no_part_of_a_recipe(self, tmp_path: Path) -> None:
        path = tmp_path / "r.toml"
        path.write_text('name = "from-windows"\n', encoding="utf-8-sig")
        assert load_recipe(path).name == "from-windows"

    def test_a_rule_between_fields_is_checked(self, tmp_path: Path) -> None:
        line = refusal(write(tmp_path, "r.toml", "[model]\nhidden_size = 100"))
        assert line.endswith("hidden_size 100 is not a multiple of num_attention_heads 12.")

    def test_an_override_is_blamed_for_a_rule_that_names_its_key_without_the_section(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="is not a multiple of num_attention_heads") as refused:
            load_recipe("demo", ["model.hidden_size=7", "model.num_hidden_layers=1"])
        assert refused.value.place == "'model.hidden_size=7'"
        recipe = tmp_path / "mine.toml"
        recipe.write_text('base = "demo"\n[model]\nhidden_size = 7\n')
        with pytest.raises(UserError) as refused:
            load_recipe(recipe, ["model.num_hidden_layers=1", "optimizer.learning_rate=1e-3"])
        assert refused.value.place == str(recipe)

    @given(key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), value=TEXT)
    def test_any_override_is_accepted_or_refused_in_one_line(self, key: str, value: str) -> None:
        line = ""
        try:
            load_recipe("demo", [f"{key}={value}"])
        except UserError as error:
            line = str(error)
        assert len(line.splitlines()) <= 1
        assert "pydantic" not in line


PATHS = TEXT.map(lambda text: "x" + text.replace("$", ""))


class TestResolved:
    @given(
        runs=PATHS,
        paths=st.lists(PATHS, min_size=1, max_size=3),
        rate=st.floats(min_value=1e-30, max_value=1e3),
        seed=st.integers(0, 2**63 - 1),
        file=st.none() | PATHS,
        marked=st.booleans(),
    )
    def test_resolved_recipe_reads_back_equal(
        self, runs: str, paths: list[str], rate: float, seed: int, file: str | None, marked: bool
    ) -> None:
        recipe = Recipe(
            runs=runs,
            data=DataConfig.model_validate(
                {"corpora": [{"paths": paths, "format": "text"}] * 2, "vocabulary": {"file": file}}
            ),
            optimizer=OptimizerConfig(learning_rate=rate),
            train=TrainConfig(seed=seed),
        )
        assert Recipe.model_validate(tomllib.loads(resolved_toml(recipe, mark_changes=marked))) == recipe

    def test_resolved_recipe_reads_back_equal_from_a_file(self, tmp_path: Path) -> None:
        recipe = load_recipe("demo", ["runs=dir with ünïcode"])
        write_recipe(recipe, tmp_path / "recipe.toml")
        assert load_recipe(tmp_path / "recipe.toml") == recipe

    def test_each_field_follows_its_documentation_and_range(self) -> None:
        lines = resolved_toml(Recipe()).splitlines()
        assert lines[lines.index("steps = 1000000") - 1] == "# Total number of optimizer steps. (≥ 1, ≤ 1000000000)"
        assert lines[lines.index('precision = "bf16"') - 1].endswith("(bf16 | fp16 | fp32)")
        assert (
            lines[lines.index("# file = (unset)") - 1]
            == "# A vocab.txt or tokenizer.json file to use; unset: train a vocabulary on the corpus. A relative path "
            "starts at the working folder."
        )
        assert "# [[data.corpora]] (none)" in lines

    def test_no_python_or_pydantic_terms_appear(self) -> None:
        text = resolved_toml(Recipe(), mark_changes=True)
        assert re.search(r"typing|Annotated|FieldInfo|<class|None", text) is None

    def test_changes_are_marked_with_their_defaults(self) -> None:
        recipe = Recipe(
            model=ModelConfig(hidden_size=24), data=DataConfig(corpora=[CorpusConfig(paths=["x"], format="text")])
        )
        marked = [line for line in resolved_toml(recipe, mark_changes=True).splitlines() if "changed" in line]
        assert marked == ["hidden_size = 24  # changed; default: 768"]
        assert "changed" not in resolved_toml(recipe)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"warmup_steps": 9}, "is not below train.steps 9"),
        ({"warmup_steps": 4, "decay_steps": 6}, "together are above train.steps 9"),
        ({"decay": "constant", "decay_steps": 6}, "needs a decay"),
    ],
)
def test_a_schedule_that_does_not_fit_its_steps_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Recipe.model_validate({"train": {"steps": 9}, "optimizer": settings})


def test_a_rule_between_sections_is_reported_in_one_line() -> None:
    with pytest.raises(UserError, match=r"optimizer\.warmup_steps 30 is not below train\.steps 4; lower the former"):
        load_recipe("demo", ["train.steps=4"])


def test_a_batch_grows_and_does_not_shrink() -> None:
    with pytest.raises(ValidationError, match="first_global_batch_size 9 is above global_batch_size 8"):
        TrainConfig(global_batch_size=8, first_global_batch_size=9, batch_growth_steps=2)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_and_state_their_purpose(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name
    first = find_recipe(name).read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(r"# .{20,}", first), "the first line is a comment that says what the recipe is for"


def test_a_key_of_a_base_can_be_unset(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("[data]\nboilerplate_documents = 3\nseed = 5\n")
    (tmp_path / "mine.toml").write_text(
        'base = "base.toml"\nunset = ["data.boilerplate_documents"]\n[data]\nseed = 6\n'
    )
    assert load_recipe(tmp_path / "base.toml").data.boilerplate_documents == 3
    mine = load_recipe(tmp_path / "mine.toml").data
    assert (mine.boilerplate_documents, mine.seed) == (None, 6)
    over = load_recipe(tmp_path / "base.toml", ["data.boilerplate_documents=", "data.seed="]).data
    assert (over.boilerplate_documents, over.seed) == (None, 12_345)


@pytest.mark.parametrize("unset", ['["data.boilerplate_document"]', '"data.seed"', "[3]"])
def test_what_cannot_be_unset_is_refused(tmp_path: Path, unset: str) -> None:
    (tmp_path / "mine.toml").write_text(f"unset = {unset}\n")
    with pytest.raises(UserError, match=r"mine\.toml: .*unset"):
        load_recipe(tmp_path / "mine.toml")


def test_an_index_that_does_not_exist_names_those_that_do(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[data.corpora]]\npaths = ["x"]\nformat = "text"\n')
    with pytest.raises(UserError, match=r"no such key. The recipe has data\.corpora\.0\."):
        load_recipe(path, ["data.corpora.1.paths=y"])
    path.write_text("")
    with pytest.raises(UserError, match=r"no such key. The recipe has no data\.corpora: add"):
        load_recipe(path, ["data.corpora.0.format=text"])
