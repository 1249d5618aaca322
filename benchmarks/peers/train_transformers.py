"""transformers' MarianMT in a plain loop: a peer (see training.py)."""

from __future__ import annotations

import torch
from training import Batch, read_arguments, serve
from transformers import MarianConfig, MarianMTModel


def main() -> None:
    """Build the model and answer."""
    setting, batches = read_arguments()
    width, layers, heads = setting["d_model"], setting["num_layers"], setting["num_heads"]
    rate, pad = setting["dropout"], setting["pad"]
    model = MarianMTModel(
        MarianConfig(
            vocab_size=setting["vocab_size"],
            d_model=width,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=setting["d_ff"],
            decoder_ffn_dim=setting["d_ff"],
            activation_function="relu",
            dropout=rate,
            attention_dropout=rate,
            activation_dropout=rate,
            scale_embedding=True,
            max_position_embeddings=512,
            pad_token_id=pad,
            bos_token_id=setting["bos"],
            eos_token_id=setting["eos"],
            decoder_start_token_id=setting["bos"],
            use_cache=False,
        )
    )
    device = torch.device(setting["device"])
    model.to(device).train()
    criterion = torch.nn.CrossEntropyLoss(
        ignore_index=pad, label_smoothing=setting["label_smoothing"], reduction="sum"
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)

    def update(batch: Batch, tokens: int) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        src, tgt = batch.src.to(device), batch.tgt.to(device)
        target = tgt[:, 1:]
        with torch.autocast(device.type, torch.bfloat16, enabled=setting["precision"] == "bf16"):
            logits = model(
                input_ids=src,
                attention_mask=(src != pad).long(),
                decoder_input_ids=tgt[:, :-1],
            ).logits
            loss = criterion(logits.flatten(0, 1), target.flatten())
        (loss / tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    serve(setting, batches, update)


if __name__ == "__main__":
    main()
