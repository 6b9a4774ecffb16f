"""A slow model that teaches a fast one: rows it is asked about, what it answers, and how well the pupil follows."""
