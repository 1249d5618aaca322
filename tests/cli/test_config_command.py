"""`nmt config show` and `nmt config schema`."""

from __future__ import annotations

import json

from nmt.config.loader import load_config
from tests.support.command_line import assert_success, nmt, settings
from tests.support.tiny_runs import Tiny


def test_config_show_marks_defaults(tiny: Tiny) -> None:
    lines = assert_success(nmt("config", "show", tiny.config, *settings(train__lr="3e-4"))).lines
    assert "  d_hidden: 8  # given" in lines
    assert "  lr: 0.0003  # given" in lines
    assert "  warmup: 400  # default" in lines, "a default of the architecture is resolved"
    assert '  score: "general"  # default' in lines
    assert all(line.endswith(("# given", "# default", ":")) for line in lines)


def test_config_show_prints_every_setting(tiny: Tiny) -> None:
    inner = settings(data__clean="{copies: true}", data__augment="{upper: 0.1}")
    inner += settings(train__simcut="{alpha: 2}")
    lines = assert_success(nmt("config", "show", tiny.config, *inner)).lines
    keys = {line.strip().split(":")[0] for line in lines}
    schema = json.loads(assert_success(nmt("config", "schema")).out)
    del schema["$defs"]["ExtensionConfig"]  # tokenizer.extend is null without a parent
    for section in schema["$defs"].values():
        if section["title"] in ("CleanConfig", "AugmentConfig", "SimCutConfig"):
            name = section["title"].removesuffix("Config").lower()
            [setting] = [line for line in lines if line.startswith(f"  {name}: ")]
            assert all(f'"{key}": ' in setting for key in section["properties"])
        elif section["title"].endswith("Config") and section["title"] != "TransformerConfig":
            assert section["properties"].keys() <= keys
    assert schema["properties"].keys() <= keys


def test_config_show_output_loads_as_the_same_config(tiny: Tiny) -> None:
    output = assert_success(nmt("config", "show", tiny.config)).out
    copy = tiny.folder / "else" / "where.yaml"
    copy.parent.mkdir()
    copy.write_text(output)
    assert load_config(copy).model_dump() == load_config(tiny.config).model_dump()
    assert str(tiny.folder / "train") in output, "relative paths are made absolute"


def test_config_schema_describes_every_setting() -> None:
    schema = json.loads(assert_success(nmt("config", "schema")).out)
    sections = {name: schema["$defs"][name] for name in ("TrainConfig", "RNNConfig", "DataConfig")}
    for section in sections.values():
        assert section["additionalProperties"] is False
        assert all(setting["description"] for setting in section["properties"].values())


def test_config_show_without_text_files_succeeds(tiny: Tiny) -> None:
    (tiny.folder / "train.in").unlink()
    assert assert_success(nmt("config", "show", tiny.config)).out


def test_config_show_bad_setting_is_refused(tiny: Tiny) -> None:
    result = nmt("config", "show", tiny.config, *settings(train__lrr=1))
    assert (result.code, result.out) == (2, "")
    assert "did you mean 'lr'?" in result.err


def test_config_show_unsupported_export_is_refused(tiny: Tiny) -> None:
    result = nmt("config", "show", tiny.config, *settings(export="[ctranslate2]"))
    assert (result.code, result.out) == (2, "")
    assert f"{tiny.config}: model.arch: export: CTranslate2 runs Transformers only" in result.err
