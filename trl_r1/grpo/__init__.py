"""GRPO: the trainer, its options, advantages, KL, loss, batching, rollout and critic.

Belongs here: what happens inside an optimizer step. Not: stages, run folders and evaluation, which import this
package and are never imported by it. A new advantage or KL estimator is a function and one line in ``ADVANTAGES`` or
``KL_ESTIMATORS``.
"""
