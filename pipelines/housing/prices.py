"""What a home costs: the formula of the market, factor by factor."""

import math

import numpy as np

from pipelines.housing.properties import Numbers, Properties

BASE_EUR = 9_500.0
AREA_EXPONENT = 0.86
NOISE = 0.085  # standard deviation of the log price that no column explains
USUAL_RATE = 3.5  # percent a year

# In the order of REGIONS: city, suburb, coast, country.
REGION_FACTOR = np.array([1.30, 1.00, 1.42, 0.70])
# In the order of KINDS: flat, house, terrace, plot.
KIND_FACTOR = np.array([1.00, 1.08, 1.02, 0.20])
# In the order of CONDITIONS: poor, fair, good, new.
CONDITION_FACTOR = np.array([0.82, 0.93, 1.00, 1.10])

# What a recession leaves of the price, by region; see ``recession_factor``.
RECESSION_LEVEL = np.array([0.775, 0.81, 0.74, 0.84])


def price(homes: Properties, year: Numbers, rate: Numbers, level: Numbers, noise: Numbers) -> Numbers:
    """Prices in EUR, shape (n,), rounded to 100.

    Args:
        year: of the sale.
        rate: of interest, percent a year.
        level: factor of the whole market: 1, or what season and recession make of it.
        noise: standard normal.
    """
    home = np.where(homes.is_plot, 1.0, condition_factor(homes) * age_factor(homes, year) * rooms_factor(homes))
    value: Numbers = (
        BASE_EUR
        * homes.area_m2**AREA_EXPONENT
        * REGION_FACTOR[homes.region]
        * KIND_FACTOR[homes.kind]
        * home
        * distance_factor(homes.distance_km)
        * rate_factor(rate)
        * level
        * np.exp(NOISE * noise)
    )
    return np.round(value, -2)


def condition_factor(homes: Properties) -> Numbers:
    """From 0.82 for a poor home to 1.10 for a new one, whether or not the files say which it is."""
    return np.asarray(CONDITION_FACTOR[homes.condition], dtype=np.float64)


def age_factor(homes: Properties, year: Numbers) -> Numbers:
    """Falls by a quarter over the decades; from 90 years on a home counts as historic and gains 8 %."""
    age = np.maximum(year - homes.year_built, 0.0)
    return (1.0 - 0.25 * (1.0 - np.exp(-age / 30.0))) * np.where(age >= 90, 1.08, 1.0)


def rooms_factor(homes: Properties) -> Numbers:
    """3 % for each room more than 27 m2 each would give, at most 9 %, and as much less for fewer."""
    return np.exp(0.03 * np.clip(homes.rooms - homes.area_m2 / 27.0, -3.0, 3.0))


def distance_factor(distance_km: Numbers) -> Numbers:
    """At 5 km about a tenth less than in the centre, at 30 km a quarter less."""
    return np.exp(-0.16 * np.log1p(distance_km / 5.0))


def rate_factor(rate: Numbers) -> Numbers:
    """A point of interest more takes 4 % off what people can pay."""
    return np.exp(-0.04 * (rate - USUAL_RATE))


def season_factor(month_of_year: int, amplitude: float) -> float:
    """1 + *amplitude* in July, 1 - *amplitude* in January."""
    return 1.0 - amplitude * math.cos(2.0 * math.pi * (month_of_year - 1) / 12.0)


def recession_factor(homes: Properties, year: Numbers) -> Numbers:
    """Level by region, and up to 6 % less for homes of 60 years and more, which buyers with less money avoid.

    With ``rate_factor`` of a rise by two points the whole fall is 25 to 35 % for most homes.
    """
    old = np.clip((year - homes.year_built) / 60.0, 0.0, 1.0) * ~homes.is_plot
    return np.asarray(RECESSION_LEVEL[homes.region] * (1.0 - 0.06 * old), dtype=np.float64)


def shift_weight(homes: Properties) -> Numbers:
    """How likely a property is to come to market under a covariate shift, 0..1."""
    by_region = np.array([0.25, 0.45, 1.0, 0.9])[homes.region]
    return np.asarray(by_region * np.clip(homes.area_m2 / 160.0, 0.15, 1.0), dtype=np.float64)


def stock_size(rows_per_month: int) -> int:
    """Homes in the market: one is sold once in 25 years on average."""
    return 300 * max(rows_per_month, 1)
