"""Rendering: problems to ids, ids to texts, and rows to the labels that generation would have emitted."""

from trl_r1.models.rendering.facts import TemplateFacts, UnfitTemplate
from trl_r1.models.rendering.reasoning import TemplateReasoningFormat
from trl_r1.models.rendering.renderer import Renderer
from trl_r1.models.rendering.replies import Reply
from trl_r1.models.rendering.rows import Part, TrainingRow, end_ids


__all__ = [
    "Part",
    "TemplateReasoningFormat",
    "Renderer",
    "Reply",
    "TemplateFacts",
    "TrainingRow",
    "UnfitTemplate",
    "end_ids",
]
