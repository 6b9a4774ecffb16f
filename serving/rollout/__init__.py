"""Moving a release to traffic by evidence: plan, evidence, decisions, state, journal, controller."""
