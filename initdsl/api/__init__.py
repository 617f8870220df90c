"""The public faces: functions and classes that join planning, filling and reports."""
