"""Lead alerts: sales hears of a new lead in Slack."""
