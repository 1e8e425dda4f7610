"""Which files of a directory or repository are the checkpoint, and which ids they state."""

from __future__ import annotations

import json

import pytest

from univerce.genes.release.layout import Layout, find_layout
from univerce.genes.release.sentence_ids import read_sentence_ids
from univerce.genes.release.vocabulary import read_vocabulary, vocabulary_species

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
IDS = {
    "pad_token_idx": 0, "cls_token_idx": 1, "chrom_token_offset": 143574, "chrom_token_right_idx": 2,
    "sample_size": 1024, "pad_length": 2048,
}  # fmt: skip


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["4layer_model.torch", "all_tokens.torch"], Layout(("4layer_model.torch",), tokens="all_tokens.torch")),
        (["pytorch_model.bin", "config.json", "README.md"], Layout(("pytorch_model.bin",), "config.json")),
        (["model.pt", "tokens.pt", "config.json"], Layout(("model.pt",), "config.json", tokens="tokens.pt")),
        ([*SHARDS, "model.safetensors.index.json"], Layout(SHARDS)),
        (
            ["model.safetensors", "pytorch_model.bin", "training/config.yaml", "config.yaml",
             "vocab/all_species_gene_dict_v2026-09.json", "gene_mapping.json", "runs/model.safetensors"],
            Layout(("model.safetensors",), run_configs=("config.yaml", "training/config.yaml"),
                   genes="vocab/all_species_gene_dict_v2026-09.json"),
        ),
        (["README.md", "vocab/other.json"], Layout(())),
    ],
    ids=["figshare", "transformers", "perturblab", "shards", "uce-brain", "nothing"],
)  # fmt: skip
def test_public_layouts_are_recognized(names, expected):
    assert find_layout(names, "here") == expected


def test_an_ambiguous_or_incomplete_layout_is_refused():
    with pytest.raises(ValueError, match=r"here holds several checkpoints: a\.torch, b\.torch\. Pass the path"):
        find_layout(["a.torch", "b.torch"], "here")
    with pytest.raises(ValueError, match=r"here is incomplete: of its shards it has only model-00001-of-00002"):
        find_layout(SHARDS[:1], "here")
    with pytest.raises(ValueError, match="several lists of genes"):
        find_layout(["model.pt", "all_species_gene_dict_a.json", "all_species_gene_dict_b.json"], "here")


def state(tmp_path, config=None, **runs):
    """Write config.json and config.yaml files; return their paths."""
    for name, values in runs.items():
        path = tmp_path / name.replace("__", "/") / "config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"  {key}: {value}\n" for key, value in values.items())
        path.write_text(f"model:\n  d_model: 512\ndataset:\n{lines}")
    (tmp_path / "config.json").write_text(json.dumps(config or {}))
    return tmp_path / "config.json", [tmp_path / name / "config.yaml" for name in runs]


def test_ids_come_from_the_caller_then_config_json_then_config_yaml_then_the_registry(tmp_path):
    other = {"chrom_token_offset": 7, "chrom_token_right_idx": 8, "cls_token_idx": 9, "pad_length": 99}
    config, runs = state(tmp_path, {"chrom_token_right_idx": 11, "cls_token_idx": 12}, run={**IDS, "sample_size": 512})
    ids = read_sentence_ids(config, runs, given={"cls_token_idx": 5}, pinned=other, pinned_from="registry")
    assert (ids.cls, ids.right, ids.chromosome_offset, ids.n_sample, ids.max_length) == (5, 11, 143574, 512, 2048)
    assert [ids.source[key] for key in ("cls_token_idx", "chrom_token_right_idx", "chrom_token_offset")] == [
        "the caller", "config.json", "run/config.yaml",
    ]  # fmt: skip
    ids = read_sentence_ids(config, [], pinned={**IDS, **other}, pinned_from="registry")
    assert (ids.chromosome_offset, ids.source["chrom_token_offset"]) == (7, "registry")


@pytest.mark.parametrize("key", IDS)
def test_an_id_that_nobody_states_is_never_assumed(tmp_path, key):
    config, runs = state(tmp_path, run={k: v for k, v in IDS.items() if k != key})
    with pytest.raises(ValueError, match=rf"model does not state {key}, .* 1000 .* 2000, others 143574 .* 237411"):
        read_sentence_ids(config, runs, where="model")


def test_ids_that_are_no_numbers_and_files_that_are_no_configs_are_refused(tmp_path):
    config, runs = state(tmp_path, run={**IDS, "cls_token_idx": "one"})
    with pytest.raises(ValueError, match=r"cls_token_idx in run/config\.yaml is 'one'"):
        read_sentence_ids(config, runs)
    with pytest.raises(ValueError, match="Unknown ids offset; use pad_token_idx"):
        read_sentence_ids(config, runs, given={"offset": 3})
    runs[0].write_text("dataset: !!python/object/apply:os.mkdir [here]")
    with pytest.raises(ValueError, match="is not a YAML file"):
        read_sentence_ids(config, runs)
    config.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged or is not a JSON file"):
        read_sentence_ids(config, [])


def gene(token, chromosome="3", location="10"):
    return {"protein_embedding_id": token, "chromosome_id": chromosome, "location": location}


def test_a_list_of_genes_is_read_with_numbers_as_text_and_species_by_any_name(tmp_path):
    path = tmp_path / "gene_mapping.json"
    content = {"homo_sapiens": {"TP53": gene("28"), "Ins": gene(30, 4, 5)}, "tree_shrew": {"A": gene("1")}}
    path.write_text(json.dumps(content))
    assert vocabulary_species(path) == {"human": "homo_sapiens", "tree_shrew": "tree_shrew"}
    genes = read_vocabulary(path, "human")
    assert genes.to_dict("list") == {
        "symbol": ["TP53", "INS"], "token": [28, 30], "chromosome_code": [3, 4], "start": [10, 5]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"TP53": gene("1")}, "it names no species"),
        ({"human": {"TP53": gene("x")}}, r"protein_embedding_id of TP53 \(human\) is 'x'"),
        ({"human": {"TP53": {"protein_embedding_id": "1", "chromosome_id": "1"}}}, "location of TP53 .* is None"),
        ({"human": {}, "homo_sapiens": {}}, "'human' and 'homo_sapiens' are both human"),
    ],
    ids=["one species", "text", "missing", "twice"],
)
def test_a_list_that_is_not_one_is_refused(tmp_path, content, message):
    path = tmp_path / "gene_mapping.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_vocabulary(path, "human")


def test_of_two_spellings_the_last_is_kept_as_the_makers_do(tmp_path):
    path = tmp_path / "gene_mapping.json"
    path.write_text(json.dumps({"mouse": {"Abc": gene("1"), "Ins1": gene("2"), "ABC": gene("3")}}))
    assert read_vocabulary(path, "mouse")[["symbol", "token"]].to_numpy().tolist() == [["INS1", 2], ["ABC", 3]]
