"""A random model that loads in no time, with a tokenizer that reads the probe set."""

from pathlib import Path


def save_tiny_model(folder: Path) -> Path:
    """Fill a folder with a random MoE model (2 layers, 8 experts, 2 a token) and a tokenizer; returns the folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import OlmoeConfig, OlmoeForCausalLM, PreTrainedTokenizerFast

    from gatescope.corpora.bundled import probe

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator((document.text for document in probe()), trainer)
    core.post_processor = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<|end|>", eos_token="<|end|>")
    sizes = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "num_experts": 8, "num_experts_per_tok": 2}
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    model = OlmoeForCausalLM(OlmoeConfig(vocab_size=len(tokenizer), **sizes, **heads, **special))
    with torch.no_grad():
        for block in model.model.layers:
            block.mlp.gate.weight.mul_(50)  # routers that decide
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
