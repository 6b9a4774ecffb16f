"""Ten tables of ten domains, made to the plan of tables that people bring, written as such files are."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

Rng = np.random.Generator


@dataclass(frozen=True)
class Made:
    """One table as a file holds it.

    Attributes:
        null: what is written where nothing stands.
    """

    name: str
    target: str
    frame: pl.DataFrame
    separator: str = ","
    null: str = ""

    def write(self, folder: Path) -> Path:
        """The file in *folder*."""
        path = folder / f"{self.name}.csv"
        self.frame.write_csv(path, separator=self.separator, null_value=self.null)
        return path

    def changed(self, frame: pl.DataFrame) -> "Made":
        """The same with other rows or columns."""
        return Made(self.name, self.target, frame, self.separator, self.null)


def rentals(rng: Rng, rows: int = 6_000) -> Made:
    """Bikes by the hour: hour, weekday and season make the number, and no column says the first two."""
    start = datetime(2023, 1, 1)
    at = [start + timedelta(hours=n) for n in range(rows)]
    hour, day = np.array([t.hour for t in at]), np.array([t.weekday() for t in at])
    yearly = np.array([t.timetuple().tm_yday for t in at]) / 365 * 2 * np.pi
    temp = 14 - 11 * np.cos(yearly) + 4 * np.sin((hour - 9) / 24 * 2 * np.pi) + rng.normal(0, 2, rows)
    weather = rng.choice([1, 2, 3, 4], rows, p=[0.66, 0.25, 0.085, 0.005])
    work = (day < 5).astype(int)
    rush = np.exp(-((hour - 8) ** 2) / 3) + np.exp(-((hour - 17.5) ** 2) / 5)
    leisure = np.exp(-((hour - 14) ** 2) / 18)
    level = 40 + 380 * rush * work + 260 * leisure * (1 - work) + 110 * np.exp(-((hour - 13) ** 2) / 25)
    mean = level * (0.35 + np.clip(temp, 0, 30) / 26) * np.array([0, 1, 0.9, 0.55, 0.3])[weather]
    frame = pl.DataFrame(
        {
            "datetime": [f"{t:%Y-%m-%d %H:%M:%S}" for t in at],
            "season": [(t.month % 12) // 3 + 1 for t in at],
            "workingday": work,
            "weather": weather,
            "temp": temp.round(2),
            "atemp": (temp + rng.normal(0.5, 1.5, rows)).round(2),
            "humidity": np.clip(rng.normal(62, 18, rows), 8, 100).round().astype(int),
            "windspeed": rng.gamma(3, 4, rows).round(4),
            "count": rng.poisson(mean * rng.lognormal(0, 0.15, rows)),
        }
    )
    return Made("rentals", "count", frame)


def sales(rng: Rng, rows: int = 5_000) -> Made:
    """Sales of houses with month/day/year and a question mark where nobody knows; prices rise by the month."""
    days = np.sort(rng.integers(0, 390, rows))
    at = [datetime(2014, 5, 2) + timedelta(days=int(n)) for n in days]
    living = rng.lognormal(7.55, 0.42, rows).round(-1)
    place = rng.integers(0, 70, rows)
    worth = rng.normal(0, 0.3, 70)[place]
    grade = np.clip(np.round(7.6 + 1.1 * (np.log(living) - 7.55) / 0.42 + rng.normal(0, 0.6, rows)), 3, 13)
    cellar = np.where(rng.random(rows) < 0.6, 0, (living * rng.uniform(0.1, 0.5, rows)).round(-1))
    price = (
        270 * living**0.75 * np.exp(0.13 * (grade - 7.6) + worth + days / 390 * 0.09 + rng.normal(0, 0.17, rows)) * 6.2
    )
    frame = pl.DataFrame(
        {
            "id": rng.permutation(rows) * 7919 + 1_000_102,
            "date": [f"{t.month}/{t.day}/{t.year}" for t in at],
            "bedrooms": np.clip(np.round(1.5 + living / 1100 + rng.normal(0, 0.6, rows)), 1, 9).astype(int),
            "bathrooms": (np.round((0.8 + living / 1500 + rng.normal(0, 0.4, rows)).clip(0.5) * 4) / 4),
            "sqft_living": living.astype(int),
            "sqft_lot": rng.lognormal(8.9, 0.85, rows).round().astype(int),
            "sqft_basement": [
                "?" if lost else f"{n:.1f}" for lost, n in zip(rng.random(rows) < 0.021, cellar, strict=True)
            ],
            "grade": grade.astype(int),
            "condition": rng.choice([1, 2, 3, 4, 5], rows, p=[0.005, 0.01, 0.645, 0.26, 0.08]),
            "yr_built": rng.integers(1900, 2015, rows),
            "zipcode": (98001 + place),
            "waterfront": (rng.random(rows) < 0.01).astype(int),
            "price": price.round(),
        }
    )
    return Made("sales", "price", frame)


def homes(rng: Rng, rows: int = 1_500) -> Made:
    """Homes with 79 columns, most of them words, NA where a home has no such thing; everything acts by percent."""
    size, quality = rng.lognormal(7.25, 0.33, rows).round(), rng.normal(0, 1, rows)
    columns: dict[str, Any] = {"Gr Liv Area": size.astype(int)}
    log = 7.3 + 0.62 * np.log(size) + 0.18 * quality
    grades = np.array(["Po", "Fa", "TA", "Gd", "Ex"])
    for number in range(30):
        weight, count = rng.uniform(0, 0.03), int(rng.integers(3, 9))
        if number % 3 == 0:
            code = np.clip(np.round(2 + 0.8 * quality + rng.normal(0, 0.8, rows)), 0, 4).astype(int)
            words: Any = grades[code]
            log = log + weight * (code - 2)
        else:
            code = rng.choice(count, rows, p=rng.dirichlet(np.full(count, 2.0)) * 0.88 + 0.12 / count)
            words = np.array([f"Kind{number}{chr(65 + n)}" for n in range(count)])[code]
            log = log + weight * rng.normal(0, 1.5, count)[code]
        lost = rng.random(rows) < (0.5 if number % 10 == 9 else 0.05 if number % 5 == 4 else 0)
        columns[f"Word {number + 1}"] = [None if gone else str(word) for gone, word in zip(lost, words, strict=True)]
    for number in range(48):
        tail = number % 4
        values = (
            rng.gamma(2, 40, rows) if tail == 0 else np.round(rng.gamma(5, 1.2, rows)) if tail == 1
            else np.where(rng.random(rows) < 0.6, 0, rng.gamma(3, 70, rows)) if tail == 2 else rng.normal(60, 9, rows)
        )  # fmt: skip
        log = log + rng.uniform(-0.012, 0.02) * (values - values.mean()) / values.std()
        decimals = 0 if tail < 3 else 1
        columns[f"Num {number + 1}"] = np.round(values, decimals) if decimals else np.round(values).astype(int)
    columns["SalePrice"] = (np.exp(log + rng.normal(0, 0.09, rows)) * 1.1).round(-2).astype(int)
    return Made("homes", "SalePrice", pl.DataFrame(columns), null="NA")


def campaign(rng: Rng, rows: int = 8_000) -> Made:
    """Calls of a bank, semicolons between cells, one yes in eight."""
    age, balance = rng.gamma(16, 2.6, rows).round().astype(int), (rng.gamma(0.6, 2300, rows) - 300).round().astype(int)
    job = rng.choice(["admin.", "blue-collar", "management", "retired", "services", "student", "technician", "unknown"],
                     rows, p=[0.12, 0.22, 0.21, 0.06, 0.1, 0.04, 0.23, 0.02])  # fmt: skip
    month = rng.choice(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], rows,
                       p=[0.04, 0.06, 0.04, 0.07, 0.29, 0.11, 0.14, 0.13, 0.02, 0.02, 0.07, 0.01])  # fmt: skip
    before = rng.choice(["unknown", "failure", "other", "success"], rows, p=[0.8, 0.11, 0.05, 0.04])
    talk = rng.gamma(1.3, 200, rows).round().astype(int)
    loan, housing = rng.random(rows) < 0.16, rng.random(rows) < 0.55
    logit = -3.9 + 0.0045 * talk + 2.2 * (before == "success") + 0.9 * np.isin(month, ["mar", "sep", "oct", "dec"])
    logit = logit - 0.6 * housing - 0.4 * loan + 0.5 * np.isin(job, ["retired", "student"]) + 0.00005 * balance
    frame = pl.DataFrame(
        {
            "age": age,
            "job": job,
            "marital": rng.choice(["married", "single", "divorced"], rows, p=[0.6, 0.28, 0.12]),
            "education": rng.choice(["primary", "secondary", "tertiary", "unknown"], rows, p=[0.15, 0.51, 0.3, 0.04]),
            "balance": balance,
            "housing": np.where(housing, "yes", "no"),
            "loan": np.where(loan, "yes", "no"),
            "contact": rng.choice(["cellular", "telephone", "unknown"], rows, p=[0.65, 0.06, 0.29]),
            "day": rng.integers(1, 32, rows),
            "month": month,
            "duration": talk,
            "campaign": rng.geometric(0.36, rows),
            "poutcome": before,
            "y": np.where(rng.random(rows) < 1 / (1 + np.exp(-logit)), "yes", "no"),
        }
    )
    return Made("campaign", "y", frame, separator=";")


def rides(rng: Rng, rows: int = 6_000) -> Made:
    """Fares of rides between two hundred zones, some of which are rare."""
    weights = rng.dirichlet(np.full(200, 0.7))
    zones = np.array([f"Zone {n:03d}" for n in range(200)])
    spot = rng.uniform(0, 18, (200, 2))
    start, end = rng.choice(200, rows, p=weights), rng.choice(200, rows, p=weights)
    seconds = np.sort(rng.integers(0, 31 * 86_400, rows))
    at = [datetime(2019, 3, 1) + timedelta(seconds=int(n)) for n in seconds]
    distance = (np.hypot(*(spot[start] - spot[end]).T) * rng.lognormal(0.1, 0.12, rows) + 0.4).round(2)
    night = np.array([t.hour >= 20 or t.hour < 6 for t in at])
    busy = np.array([t.weekday() < 5 and 16 <= t.hour < 20 for t in at])
    fare = 2.5 + 1.6 * distance + 0.5 * night + busy * (1 + 0.25 * distance) + rng.gamma(1.2, 1.4, rows)
    frame = pl.DataFrame(
        {
            "pickup": [f"{t:%Y-%m-%d %H:%M:%S}" for t in at],
            "passengers": rng.choice([1, 2, 3, 4, 5, 6], rows, p=[0.72, 0.14, 0.05, 0.03, 0.04, 0.02]),
            "distance": distance,
            "payment": rng.choice(np.array(["credit card", "cash", None], dtype=object), rows, p=[0.71, 0.28, 0.01]),
            "pickup_zone": zones[start],
            "dropoff_zone": zones[end],
            "fare": (np.round(fare * 2) / 2),
        }
    )
    return Made("rides", "fare", frame)


def air(rng: Rng, rows: int = 8_000, gone: float = 0.012) -> Made:
    """Fine dust by the hour, its moment in four columns, NA where the instrument was off."""
    at = [datetime(2010, 7, 1) + timedelta(hours=n) for n in range(rows)]
    hour = np.array([t.hour for t in at])
    yearly = np.array([t.timetuple().tm_yday for t in at]) / 365 * 2 * np.pi
    drift = np.zeros(rows)
    noise = rng.normal(0, 0.16, rows)
    for n in range(1, rows):
        drift[n] = 0.96 * drift[n - 1] + noise[n]
    wind = rng.choice(["NW", "cv", "NE", "SE"], rows, p=[0.32, 0.21, 0.12, 0.35])
    speed = rng.gamma(0.9, 25, rows).round(2)
    log = (
        4.2 + 0.9 * drift + 0.3 * np.cos(yearly) - 0.25 * np.log1p(speed / 10) + 0.15 * np.cos((hour - 22) / 12 * np.pi)
    )
    dust = np.exp(log + 0.2 * (wind == "cv") + rng.normal(0, 0.25, rows)).round()
    lost = rng.random(rows) < gone
    frame = pl.DataFrame(
        {
            "year": [t.year for t in at],
            "month": [t.month for t in at],
            "day": [t.day for t in at],
            "hour": hour,
            "DEWP": (2 - 16 * np.cos(yearly) + 6 * drift + rng.normal(0, 3, rows)).round().astype(int),
            "TEMP": (12 - 15 * np.cos(yearly) + 4 * np.sin((hour - 9) / 12 * np.pi) + rng.normal(0, 2, rows)).round(),
            "PRES": (1016 + 9 * np.cos(yearly) + rng.normal(0, 4, rows)).round(),
            "cbwd": wind,
            "Iws": speed,
            "pm2.5": [None if gone else value for gone, value in zip(lost, dust, strict=True)],
        }
    )
    return Made("air", "pm2.5", frame, null="NA")


def wine(rng: Rng, rows: int = 4_000, twice: float = 0.0) -> Made:
    """Grades of wines by what the laboratory says; with *twice* a share of the rows stands there again."""
    alcohol, acid = rng.normal(10.5, 1.2, rows).clip(8, 14.2).round(1), rng.gamma(7.6, 0.037, rows).round(3)
    sugar, sulphur = rng.gamma(1.6, 4, rows).round(1).clip(0.6), rng.gamma(4.3, 8.2, rows).round()
    score = 5.9 + 0.42 * (alcohol - 10.5) - 1.9 * (acid - 0.28) + 0.02 * sugar + rng.normal(0, 0.66, rows)
    frame = pl.DataFrame(
        {
            "fixed acidity": rng.normal(6.85, 0.84, rows).round(1),
            "volatile acidity": acid,
            "citric acid": rng.normal(0.33, 0.12, rows).clip(0).round(2),
            "residual sugar": sugar,
            "chlorides": rng.lognormal(-3.12, 0.3, rows).round(3),
            "free sulfur dioxide": sulphur,
            "total sulfur dioxide": (sulphur * 1.7 + rng.gamma(6, 13, rows)).round(),
            "density": (1.0 - 0.0012 * (alcohol - 8) + 0.0004 * sugar + rng.normal(0, 0.0006, rows)).round(5),
            "pH": rng.normal(3.19, 0.15, rows).round(2),
            "sulphates": rng.lognormal(-0.74, 0.22, rows).round(2),
            "alcohol": alcohol,
            "quality": np.clip(np.round(score), 3, 9).astype(int),
        }
    ).unique(maintain_order=True)
    again = frame.sample(int(twice * frame.height), seed=1)
    return Made("wine", "quality", pl.concat([frame, again]), separator=";")


def passengers(rng: Rng, rows: int = 891) -> Made:
    """People of a ship: names, tickets and cabins are texts, and most cabins are not known."""
    level, woman = rng.choice([1, 2, 3], rows, p=[0.24, 0.21, 0.55]), rng.random(rows) < 0.35
    age = rng.gamma(5, 6, rows).round(1).clip(0.5, 80)
    fare = (rng.lognormal(2.1, 0.5, rows) * np.array([0, 7, 2, 1])[level]).round(4)
    title = np.where(woman, np.where(age > 25, "Mrs.", "Miss."), np.where(age < 13, "Master.", "Mr."))
    family = np.array(["Abel", "Baker", "Clark", "Dean", "Evans", "Fox", "Gray", "Hart", "Irwin", "Jones", "Kelly"])
    first = np.array(["Anna", "Bert", "Cora", "Dan", "Ella", "Frank", "Grace", "Henry", "Iris", "Jack", "Kate", "Leo"])
    last, called = rng.choice(family, rows), rng.choice(first, (rows, 3))
    known = rng.random(rows) < np.array([0, 0.8, 0.09, 0.02])[level]
    logit = -1.1 + 2.6 * woman - 0.9 * (level - 2) - 0.02 * (age - 30) + 1.2 * (age < 13)
    frame = pl.DataFrame(
        {
            "PassengerId": range(1, rows + 1),
            "Pclass": level,
            "Name": [f"{a}, {t} {' '.join(c)}" for a, t, c in zip(last, title, called, strict=True)],
            "Sex": np.where(woman, "female", "male"),
            "Age": [None if lost else a for lost, a in zip(rng.random(rows) < 0.2, age, strict=True)],
            "SibSp": rng.poisson(0.5, rows),
            "Parch": rng.poisson(0.35, rows),
            "Ticket": [f"{rng.choice(['A/5', 'PC', 'CA', 'SC'])} {n}" if rng.random() < 0.3 else str(n)
                       for n in rng.integers(1000, 400_000, rows)],
            "Fare": fare,
            "Cabin": [f"{rng.choice(list('ABCDE'))}{rng.integers(1, 130)}" if one else None for one in known],
            "Embarked": rng.choice(["S", "C", "Q"], rows, p=[0.72, 0.19, 0.09]),
            "Survived": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int),
        }
    )  # fmt: skip
    return Made("passengers", "Survived", frame)


def incomes(rng: Rng, rows: int = 8_000) -> Made:
    """Answers of a census: a blank before each word, and a question mark for no answer."""
    school = rng.choice(["Doctorate", "Masters", "Bachelors", "Some-college", "HS-grad", "11th"], rows,
                        p=[0.02, 0.06, 0.17, 0.25, 0.4, 0.1])  # fmt: skip
    years = np.array([16, 14, 13, 10, 9, 7])[[["Doctorate", "Masters", "Bachelors", "Some-college", "HS-grad",
                                               "11th"].index(word) for word in school]]  # fmt: skip
    age, hours = rng.gamma(8, 4.8, rows).round().clip(17, 90).astype(int), rng.normal(40, 11, rows).round().clip(2, 99)
    state = rng.choice(["Married", "Never-married", "Divorced", "Widowed"], rows, p=[0.47, 0.33, 0.16, 0.04])
    work = rng.choice(["Private", "Self-emp", "Local-gov", "State-gov", "Federal-gov", "?"], rows,
                      p=[0.7, 0.11, 0.065, 0.04, 0.03, 0.055])  # fmt: skip
    gain = np.where(rng.random(rows) < 0.08, rng.lognormal(8.6, 0.9, rows), 0).round().astype(int)
    logit = -8.1 + 0.33 * years + 0.03 * age + 0.03 * hours + 1.9 * (state == "Married") + 0.0003 * gain
    frame = pl.DataFrame(
        {
            "age": age,
            "workclass": [f" {word}" for word in work],
            "fnlwgt": rng.lognormal(12, 0.55, rows).round().astype(int),
            "education": [f" {word}" for word in school],
            "marital_status": [f" {word}" for word in state],
            "sex": [f" {word}" for word in rng.choice(["Male", "Female"], rows, p=[0.67, 0.33])],
            "capital_gain": gain,
            "hours_per_week": hours.astype(int),
            "native_country": [f" {w}" for w in rng.choice(["United-States", "Mexico", "?", "India", "Cuba"], rows,
                                                           p=[0.9, 0.05, 0.02, 0.02, 0.01])],
            "income": [" >50K" if one else " <=50K" for one in rng.random(rows) < 1 / (1 + np.exp(-logit))],
        }
    )  # fmt: skip
    return Made("incomes", "income", frame)


def clinic(rng: Rng, rows: int = 5_000) -> Made:
    """Stays in a hospital, patients come again, days are written day.month.year."""
    patients = rows // 3
    who, frail = rng.integers(0, patients, rows), rng.normal(0, 1, patients)
    at = [datetime(2022, 1, 3) + timedelta(days=int(n)) for n in np.sort(rng.integers(0, 720, rows))]
    age = rng.normal(62, 14, patients).clip(18, 97).round()[who].astype(int)
    ward = rng.choice(
        ["surgery", "cardiology", "oncology", "geriatrics", "general"], rows, p=[0.3, 0.2, 0.1, 0.15, 0.25]
    )
    crea, stay = rng.lognormal(0.05, 0.35, rows).round(2), rng.gamma(1.7, 3.1, rows).round().clip(1).astype(int)
    logit = -2.2 + 0.8 * frail[who] + 0.03 * (age - 62) + 0.5 * (ward == "geriatrics") + 0.07 * stay + 0.6 * (crea - 1)
    frame = pl.DataFrame(
        {
            "patient_id": [f"P{n:06d}" for n in who],
            "admitted": [f"{t:%d.%m.%Y}" for t in at],
            "age": age,
            "sex": rng.choice(["f", "m"], rows),
            "ward": ward,
            "days": stay,
            "creatinine": [None if lost else c for lost, c in zip(rng.random(rows) < 0.12, crea, strict=True)],
            "haemoglobin": (13.4 - 0.5 * frail[who] + rng.normal(0, 1.4, rows)).round(1),
            "drugs": rng.poisson(4 + np.maximum(frail[who], 0)),
            "emergency": rng.choice(["yes", "no"], rows, p=[0.45, 0.55]),
            "readmitted": np.where(rng.random(rows) < 1 / (1 + np.exp(-logit)), "yes", "no"),
        }
    )
    return Made("clinic", "readmitted", frame)


TABLES: dict[str, Callable[[Rng], Made]] = {
    one.__name__: one
    for one in (rentals, sales, homes, campaign, rides, air, wine, passengers, incomes, clinic)  # type: ignore[list-item]  # each has defaults
}


def made(name: str, seed: int = 0) -> Made:
    """The table *name*, another for each *seed*."""
    return TABLES[name](np.random.default_rng(1_000 * seed + 7))
