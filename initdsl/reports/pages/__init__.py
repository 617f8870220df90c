"""Plans, reports and diagnoses as pages: one self-contained HTML file each, which loads nothing and sends nothing."""

from initdsl.diagnosis.page import diagnosis_page

from .plan import plan_page
from .shell import page

__all__ = ["diagnosis_page", "page", "plan_page"]
