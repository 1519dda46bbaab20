"""Judging models: held-out bits per byte, cloze questions, your benchmarks and public ones, through lm-eval.

harness          Evaluate [Make]: models and items -> results.json, results.md, samples.jsonl
tasks            what is asked, as lm-eval's task configurations
language_model   a model as lm-eval asks it: log-likelihoods and greedy text
results          from lm-eval's results to scores with standard errors and chance levels, and the table
"""
