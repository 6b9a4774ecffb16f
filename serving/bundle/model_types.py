"""The types that ``model.skops`` may hold, by the skops loader that would construct them.

Written down by hand from what the supported transformers and model families need; nothing is ever added from what a
file says about itself. A type outside of these lists is refused even where skops would trust it.
"""

from collections.abc import Mapping
from types import MappingProxyType

# Our own, of arrays and settings alone: boosted trees, which tree_bounds checks, and what stands around a model.
FLAT = frozenset({"serving.scoring.flat.FlatRegressor", "serving.scoring.flat.FlatClassifier"})
WRAPPED = frozenset(
    {
        "serving.scoring.around.Retargeted",
        "serving.scoring.around.BlendRegressor",
        "serving.scoring.around.BlendClassifier",
    }
)

# What skops does not trust by itself. Arrays of trees can crash the process: allowed since tree_bounds checks them;
# our own types check their arrays before they use them.
TRUSTED = frozenset(
    {
        "serving.features.derive.Derive",
        "serving.features.frequency.Frequency",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "numpy.dtype",
        *FLAT,
        *WRAPPED,
    }
)


def _named(module: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for name in names.split())


_HGB = "sklearn.ensemble._hist_gradient_boosting"
_TASKS = ("Classifier", "Regressor")
_GROWN = {"tree._classes": ("DecisionTree", "ExtraTree"), "ensemble._forest": ("RandomForest", "ExtraTrees"),
          "ensemble._gb": ("GradientBoosting",), "ensemble._hist_gradient_boosting.gradient_boosting":
          ("HistGradientBoosting",)}  # fmt: skip

TREE_ESTIMATORS = frozenset(
    f"sklearn.{module}.{kind}{task}" for module, kinds in _GROWN.items() for kind in kinds for task in _TASKS
)
_LINEAR = (
    _named("sklearn.linear_model._base", "LinearRegression")
    | _named("sklearn.linear_model._ridge", "Ridge")
    | _named("sklearn.linear_model._coordinate_descent", "Lasso ElasticNet")
    | _named("sklearn.linear_model._logistic", "LogisticRegression")
)
# Arrays and settings alone; boosted trees are checked as others are.
_OTHERS = (
    _named("sklearn.naive_bayes", "GaussianNB")
    | _named("sklearn.linear_model._stochastic_gradient", "SGDClassifier SGDRegressor")
    | _named("sklearn.ensemble._weight_boosting", "AdaBoostClassifier AdaBoostRegressor")
)
_TRANSFORMERS = (
    _named("sklearn.pipeline", "Pipeline")
    | _named("sklearn.compose._column_transformer", "ColumnTransformer _RemainderColsList")
    | _named("sklearn.impute._base", "SimpleImputer")
    | _named("sklearn.preprocessing._data", "StandardScaler MinMaxScaler RobustScaler")
    | _named("sklearn.preprocessing._encoders", "OneHotEncoder OrdinalEncoder")
    | _named("sklearn.preprocessing._target_encoder", "TargetEncoder")
    | _named("sklearn.model_selection._split", "KFold StratifiedKFold")  # how its means were crossed
    | _named("sklearn.preprocessing._function_transformer", "FunctionTransformer")
)
_OWN = _named("serving.features.derive", "Derive") | _named("serving.features.frequency", "Frequency")
_PARTS = (
    _named("sklearn.dummy", "DummyClassifier DummyRegressor")  # where gradient boosting starts from
    | _named("sklearn.preprocessing._label", "LabelEncoder")
    | _named(f"{_HGB}.binning", "_BinMapper")
    | _named(f"{_HGB}.predictor", "TreePredictor")
    | _named("sklearn._loss.link", "HalfLogitLink IdentityLink Interval LogLink LogitLink MultinomialLogit")
    | _named(
        "sklearn._loss.loss",
        "AbsoluteError ExponentialLoss HalfBinomialLoss HalfGammaLoss HalfMultinomialLoss HalfPoissonLoss "
        "HalfSquaredError HuberLoss PinballLoss",
    )
)
_COMPILED_LOSSES = _named(
    "sklearn._loss._loss",
    "CyAbsoluteError CyExponentialLoss CyHalfBinomialLoss CyHalfGammaLoss CyHalfMultinomialLoss CyHalfPoissonLoss "
    "CyHalfSquaredError CyHuberLoss CyPinballLoss",
)
MODELS = tuple(sorted(name.rpartition(".")[2] for name in TREE_ESTIMATORS | _LINEAR | _OTHERS | FLAT))  # for people
KEY_TYPES = frozenset({"builtins.str", "builtins.int", "numpy.int64"})  # of dicts
_SCALARS = _named("numpy", "bool bool_ float32 float64 int32 int64 intc intp uint8 uint32 uint64 str_")

ALLOWED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "DictNode": _named("builtins", "dict"),
        "ListNode": _named("builtins", "list"),
        "TupleNode": _named("builtins", "tuple"),
        "SetNode": _named("builtins", "set"),
        "SliceNode": _named("builtins", "slice"),
        "JsonNode": _named("builtins", "str"),
        "TypeNode": _named("builtins", "bool float int str") | _SCALARS,
        "FunctionNode": _named("numpy", "log log1p sqrt"),
        "NdArrayNode": _named("numpy", "ndarray") | _SCALARS,
        "DTypeNode": _named("numpy", "dtype"),
        "RandomStateNode": _named("numpy.random.mtrand", "RandomState"),
        "RandomGeneratorNode": _named("numpy.random._generator", "Generator"),
        "ObjectNode": TREE_ESTIMATORS | _LINEAR | _OTHERS | _TRANSFORMERS | _OWN | _PARTS | FLAT | WRAPPED,
        "TreeNode": _named("sklearn.tree._tree", "Tree"),
        "LossNode": _COMPILED_LOSSES,
    }
)
