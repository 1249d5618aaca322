"""A folder with text, configs and runs that the fuzzer damages."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from tests.support.promises.fuzz.command_runs import run_command

CONFIG = """\
run: run
data: {src: in, tgt: out, train: [train], valid: valid, max_length: 60}
tokenizer: {type: char}
model: {arch: ARCH}
train:
  {batch_tokens: 100, max_updates: 2, threads: 1, precision: fp32, validate_every: 100}
decode: {beam_size: 2, threads: 1, max_length_ratio: 0.5}
"""
UNIT = """\
<tu tuid="1" creationdate="20200131T120000Z">
<tuv xml:lang="in"><seg>1 2</seg></tuv>
<tuv xml:lang="out-XX"><seg>2 &amp; 1</seg></tuv></tu>
"""
TRANS_UNIT = """\
<trans-unit id="1"><source>1 <g id="1">2</g></source><target>2 &amp; 1</target></trans-unit>
"""
SEGMENT = """\
<segment><source>1 <pc id="1">2</pc></source><target>2 &amp; 1</target></segment>
"""
MEMORIES = {
    "odd.tmx": f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header/><body>
{UNIT * 2}</body></tmx>
""",
    "odd.xlf": f"""\
<?xml version="1.0"?>
<xliff version="1.2"><file source-language="in" target-language="out-XX"><body>
{TRANS_UNIT * 2}</body></file></xliff>
""",
    "odd.xliff": f"""\
<xliff version="2.0" srcLang="in" trgLang="out"><file id="f"><unit id="u">
{SEGMENT * 2}</unit></file></xliff>
""",
}
"""Translation memories in each format, by file name."""
MODELS = {
    "rnn": "rnn, d_embed: 8, d_hidden: 8",
    "transformer": "transformer, d_model: 8, d_ff: 8, num_layers: 1, num_heads: 2",
}


class FuzzFolder:
    """A folder with text, a config and a run of each architecture, to damage and restore."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fresh = folder / "fuzz", folder / "fresh"
        self.models = folder / "models"
        """Model folders of other toolkits by layout; each is written when it is first used."""
        self.models.mkdir()
        self.fresh.mkdir()
        rng = random.Random(1)
        for name, count in (("train", 40), ("valid", 4), ("test", 3)):
            lines = [" ".join(rng.choices("0123456789", k=5)) for _ in range(count)]
            (self.fresh / f"{name}.in").write_text("".join(f"{line}\n" for line in lines))
            (self.fresh / f"{name}.out").write_text("".join(f"{line[::-1]}\n" for line in lines))
        (self.fresh / "test.tmx").write_text(MEMORIES["odd.tmx"])
        for arch, words in MODELS.items():
            config = self.fresh / f"{arch}.yaml"
            config.write_text(CONFIG.replace("ARCH", words))
            run = ["--run", arch, "--device", "cpu"]
            command = ["train", str(config), *run]
            assert run_command(command, b"", self.fresh, limit=600).code == 0
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.reset()

    def reset(self) -> None:
        """Restore all files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.fresh, self.folder, symlinks=True)

    def files(self, arch: str) -> list[Path]:
        """Return the files of a run, below its folder."""
        run = self.fresh / arch
        return sorted(p.relative_to(run) for p in run.rglob("*") if p.is_file())


Damage = tuple[str, int, int]
JSONS = ["null", "[]", "{}", "1", '"x"', "[" * 5000, '{"format_version": []}', '{"update": "x"}']


def damage_file(file: Path, damage: Damage) -> None:
    """Damage a file."""
    kind, position, sign = damage
    content = bytearray(file.read_bytes())
    position %= max(1, len(content))
    if kind == "truncate":
        file.write_bytes(content[:position])
    elif kind == "flip" and content:
        content[position] ^= sign or 1
        file.write_bytes(content)
    elif kind == "zeros":
        content[position : position + 8] = bytes(8)
        file.write_bytes(content)
    elif kind == "json":
        file.write_text(JSONS[position % len(JSONS)])
    elif kind == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "null":
            file.symlink_to("/dev/null")
