"""This machine, onboarding itself: it serves its own model and gets the use-scripts."""

laptops = [("@local", {"show_answer": True})]

workstations = ["@local"]
