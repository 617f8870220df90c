"""Plans and reports as pages: one self-contained HTML file each, which loads nothing and sends nothing."""

from .plan import plan_page
from .shell import page

__all__ = ["page", "plan_page"]
