"""The cluster as a service: a sweep foreseen, submitted, watched, stopped and fetched, and what
stands in its way found.
"""
