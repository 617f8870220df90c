"""transformers: a pretrained body stays as it is, the new head starts by a rule file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

from initdsl.integrations.transformers import with_rules

RULES = Path(__file__).with_name("head.init")


def main() -> None:
    config = BertConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=64, vocab_size=99)
    body = BertModel(config)  # stands for a checkpoint that took months
    with tempfile.TemporaryDirectory() as folder:
        body.save_pretrained(folder)
        model = with_rules(BertForSequenceClassification, RULES, seed=0)
        net = model.from_pretrained(folder, num_labels=3)
    words = net.get_input_embeddings()
    print("the body is as saved:", torch.equal(words.weight, body.get_input_embeddings().weight))
    print("the head is drawn:", tuple(net.classifier.weight.shape), f"std {net.classifier.weight.std():.3f}")
    net.resize_token_embeddings(120, mean_resizing=False)
    print("21 new tokens:", f"std {net.get_input_embeddings().weight[99:].std():.2f}")


if __name__ == "__main__":
    main()
