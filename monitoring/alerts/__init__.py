"""Alerts: rules on what is measured, watched by the leading monitor, told to people and programs."""
