"""Prompts of fine-tuning: the subject's token stands in them, and a small model knows their words."""

from __future__ import annotations

import re

from common.errors import InputError


def has_token(prompt: str, token: str) -> bool:
    """Whether the token is one of the prompt's words."""
    return token in re.findall(r"[\w<>*-]+", prompt)


def check_instance(pipeline, prompt: str, token: str, flag: str = "--instance_prompt") -> None:
    """InputError for a prompt of the subject without its token, or with words unknown to the model."""
    if not has_token(prompt, token):
        raise InputError(
            f"{flag} {prompt!r}: the token {token}, by which the subject is called, is missing; add it, or "
            "name another with --instance_token"
        )
    check_known(pipeline, prompt, flag)


def check_class(pipeline, prompt: str | None, token: str, flag: str = "--class_prompt") -> None:
    """InputError for a prompt of the class that names the subject."""
    if not prompt:
        raise InputError(f'{flag}: say what the subject is one of, as in "a portrait of a person"')
    if has_token(prompt, token):
        raise InputError(
            f"{flag} {prompt!r}: has the subject's token {token}; the class is meant, without it"
        )
    check_known(pipeline, prompt, flag)


def check_known(pipeline, prompt: str, flag: str) -> None:
    """InputError for a prompt with words that a model of few words has never seen."""
    from hw4_diffusion.small_pipeline import unknown_words

    if strange := unknown_words(pipeline.tokenizer, prompt):
        raise InputError(
            f"{flag} {prompt!r}: the model does not know the word {', '.join(strange)}; its words are "
            "those of common/data/avatar_captions.py"
        )
