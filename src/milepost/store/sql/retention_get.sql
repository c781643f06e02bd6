select queue, finished_s, failed_s from milepost.retention order by queue
