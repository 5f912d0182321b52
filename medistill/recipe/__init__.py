"""Recipes: every setting of a run as frozen data, read from TOML."""

from medistill.recipe.load import load_recipe as load_recipe
from medistill.recipe.load import override_recipe as override_recipe
from medistill.recipe.load import recipe_differences as recipe_differences
from medistill.recipe.load import recipe_names as recipe_names
from medistill.recipe.load import recipe_toml as recipe_toml
from medistill.recipe.load import refuse_another_recipe as refuse_another_recipe
from medistill.recipe.load import validate_recipe as validate_recipe
from medistill.recipe.methods import METHODS as METHODS
from medistill.recipe.methods import QUANTISING as QUANTISING
from medistill.recipe.methods import Method as Method
from medistill.recipe.privacy import PrivacyRecipe as PrivacyRecipe
from medistill.recipe.quantise import AutoencoderRecipe as AutoencoderRecipe
from medistill.recipe.quantise import QuantiseRecipe as QuantiseRecipe
from medistill.recipe.quantise import Weighting as Weighting
from medistill.recipe.sections import AuditRecipe as AuditRecipe
from medistill.recipe.sections import AugmentationRecipe as AugmentationRecipe
from medistill.recipe.sections import ComputeRecipe as ComputeRecipe
from medistill.recipe.sections import DataRecipe as DataRecipe
from medistill.recipe.sections import DistillRecipe as DistillRecipe
from medistill.recipe.sections import EvaluateRecipe as EvaluateRecipe
from medistill.recipe.sections import ExpertsRecipe as ExpertsRecipe
from medistill.recipe.sections import ImportanceRecipe as ImportanceRecipe
from medistill.recipe.sections import NetworkRecipe as NetworkRecipe
from medistill.recipe.sections import Operation as Operation
from medistill.recipe.sections import Recipe as Recipe
