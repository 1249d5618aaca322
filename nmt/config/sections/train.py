"""The section `train`: batches, optimization, validation and checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nmt.config.sections.base import Count, FilePath, Fraction, Section, Threads

Component = Literal["encoder", "decoder", "embeddings", "attention"]
Schedule = Literal["constant", "inverse_sqrt", "linear", "cosine", "wsd", "plateau"]


class SimCutConfig(Section):
    """Consistency with a second pass in which tokens are cut off (SimCut, Gao et al. 2022)."""

    alpha: Annotated[float, Field(gt=0, le=1000)] = 3.0
    """Weight of the divergence of the two predictions."""
    p: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Probability that a token of the second pass has an embedding of zero, on both sides."""


class TrainConfig(Section):
    """Training. An update is one optimizer step on `batch_tokens` target tokens."""

    parent: Annotated[FilePath | None, Field(alias="from")] = None
    """Run or checkpoint to fine-tune: its weights and tokenizer (docs/fine-tuning.md)."""
    freeze: list[Component] = []
    """Parts of the model whose weights do not change: encoder, decoder, embeddings, attention."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the initial weights, the data order and dropout."""
    batch_tokens: Count = 4096
    """Target tokens per update, with padding, summed over micro-batches and GPUs."""
    micro_batch_tokens: Count | Literal["auto"] | None = None
    """Target tokens per forward pass, with padding; null: a whole batch, `auto`: what fits."""
    max_shapes: Count | None = None
    """Maximum number of distinct batch shapes; null: the number that minimizes padding."""
    activation_checkpointing: bool = False
    """Activation checkpointing: each Transformer layer runs again in the backward pass."""
    compile: Literal["auto", "off", "on"] = "auto"
    """Compilation of the update by torch.compile; `auto`: on a GPU, if the run is long enough."""
    max_epochs: Count | None = None
    """Maximum number of epochs."""
    max_updates: Count | None = None
    """Maximum number of updates."""
    max_hours: Annotated[float, Field(gt=0)] | None = None
    """Maximum training time in hours."""
    validate_every: Count | Literal["epoch"] = "epoch"
    """Interval between validations in updates, or `epoch`."""
    save_every: Count | None = None
    """Interval between checkpoints in updates; null: one checkpoint per validation."""
    keep_last: Count = 1
    """Number of newest checkpoints to keep."""
    keep_best: Count = 1
    """Number of best checkpoints to keep."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Data parallelism under torchrun: replicated or sharded weights (docs/distributed.md)."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward pass; `auto`: bf16 if it is measured to be faster, else fp32."""
    threads: Threads | None = None
    """Number of CPU threads; null: the number of cores that are idle when training starts."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimizer."""
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.98]
    """Decay rates of Adam's averages of gradient and squared gradient (Kingma & Ba 2015)."""
    eps: Annotated[float, Field(ge=1e-30, le=1)] = 1e-9
    """Constant in the denominator of Adam's update, for numerical stability."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate; null: the default of the architecture."""
    schedule: Schedule | None = None
    """Learning rate schedule after warm-up; null: the default of the architecture."""
    warmup: Annotated[int, Field(ge=0)] | None = None
    """Number of updates of linear warm-up; null: the default of the architecture."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay per update; decoupled with adamw."""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Maximum norm of the gradient; 0: no clipping."""
    label_smoothing: Fraction = 0.1
    """Probability mass that label smoothing spreads over the vocabulary (Szegedy et al. 2016)."""
    token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a token has an embedding of zero, on both sides (Gal & Ghahramani 2016)."""
    rdrop: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Weight of the divergence of two passes that differ in dropout (R-Drop, Liang et al. 2021)."""
    simcut: SimCutConfig | None = None
    """Consistency with a second pass in which tokens are cut off; null: off."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per update of the moving average of weights that is the model; null: no average."""
    on_spike: Literal["log", "rewind"] = "log"
    """Reaction to a loss spike: log it, or also restore the weights of the last checkpoint."""
    guided_alignment: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the loss between attention and `data.alignments` (Chen et al. 2016)."""
    guided_alignment_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor by which `guided_alignment` is multiplied after each epoch."""
    patience: Count | None = 10
    """Maximum number of validations without a new best score; null: unlimited."""
    stop_metric: Literal["bleu", "loss", "perplexity"] = "bleu"
    """Validation metric that selects the best checkpoint and ends training."""
    stop_set: str | None = None
    """Validation set whose `stop_metric` decides; null: all sets of data.valid together."""
    log_to: list[Literal["tensorboard", "wandb"]] = []
    """Experiment trackers that also receive the records of metrics.jsonl (docs/training.md)."""

    @property
    def stop_score(self) -> str:
        """Name of the validation score that selects the best checkpoint, such as `bleu/news`."""
        return self.stop_metric if self.stop_set is None else f"{self.stop_metric}/{self.stop_set}"

    @property
    def fixed_micro_batch_tokens(self) -> int | None:
        """Target tokens per micro-batch; None for whole batches and for `auto`."""
        return None if self.micro_batch_tokens == "auto" else self.micro_batch_tokens
