"""A recipe changes what it names and nothing else."""

from dataclasses import replace

import pytest

from spikelfp_lab import ConfigError
from spikelfp_lab.configs import config_hash
from spikelfp_lab.presets import PRESETS
from spikelfp_lab.study import Recipe

PRESET = PRESETS["demo"]["distill"]


def test_the_default_changes_nothing():
    assert Recipe().apply(PRESET) == PRESET


def test_fields_replace_those_of_the_preset():
    recipe = Recipe(
        distill={"alignment_weight": 0.0}, model={"layers": 2}, train={"drop_inputs": 0.0}
    )
    made = recipe.apply(PRESET)
    assert made.distill == replace(PRESET.distill, alignment_weight=0.0)
    assert made.model == replace(PRESET.model, layers=2)
    assert made.train == replace(PRESET.train, drop_inputs=0.0)
    assert (made.mask, made.finetune) == (PRESET.mask, PRESET.finetune)


def test_supervision_makes_behavior_the_second_term():
    assert Recipe(supervised=True).apply(PRESET).distill.target == "behavior"


def test_recipes_that_differ_have_other_names():
    recipes = [Recipe(), Recipe(minutes=1.0), Recipe(beside=True), Recipe(pretrained_on=0)]
    assert len({config_hash(recipe) for recipe in recipes}) == len(recipes)
    assert config_hash(Recipe.from_dict(recipes[1].to_dict())) == config_hash(recipes[1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"teacher": "nobody"},
        {"pretrained_on": -1},
        {"minutes": 0.0},
        {"model": 3},
    ],
)
def test_what_is_no_recipe_is_refused(wrong):
    with pytest.raises(ConfigError, match="Recipe"):
        Recipe(**wrong)


def test_an_unknown_field_is_refused():
    with pytest.raises(ConfigError, match="lambda"):
        Recipe(distill={"lambda": 5.0}).apply(PRESET)
