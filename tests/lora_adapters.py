"""LoRA adapters of tiny models, as PEFT writes them."""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

CAUSAL = TaskType.CAUSAL_LM


def write_adapter(
    folder: Path, base: Path, *, scale: float = 0.3, task: Any = CAUSAL, seed: int = 0, **settings: Any
) -> Path:
    """Write an adapter of random weights for the model in `base`, and return its folder.

    Args:
        folder: A new one.
        base: The model.
        scale: The standard deviation of the matrices B; 0 leaves the model as it is.
        task: What PEFT is told the model is for.
        seed: Of the weights.
        settings: More of PEFT's.
    """
    kind = AutoModelForSeq2SeqLM if task is TaskType.SEQ_2_SEQ_LM else AutoModelForCausalLM
    torch.manual_seed(seed)
    chosen = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **settings}
    with warnings.catch_warnings():  # PEFT may use what transformers has since renamed
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(kind.from_pretrained(base), LoraConfig(task_type=task, **chosen))
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights.data, std=scale)
    model.save_pretrained(folder)
    return folder
