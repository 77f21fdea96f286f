"""`azcmagent upgrade`: a newer package from the cloud, verified and tried, takes the place of what is installed."""
