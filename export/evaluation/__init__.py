"""Measures the whole product on labelled folders: `python -m export.evaluate FOLDER`.

judging       clips through monitor's own pipeline, under what a call does to them
metrics       AUC, AP, EER, TPR, ECE, with intervals drawn by identity; segments, delays, false incidents
sections      one function for each part of the report: labelled folder in, plain numbers out
render        the numbers as markdown and plots; every word that holds a number is written from them
"""
